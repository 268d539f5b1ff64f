# Sourced by the scripts beside it, in the root of the repository: finds a Python, creates .venv and installs into it.
# Also runs in bash 3.2 (macOS).

set -o pipefail
unset PYTHONPATH PYTHONHOME # They would add another Python's packages to .venv.

say() {
    printf '\n== %s\n' "$*"
}

# Prints one line on stderr and exits with 2: the user has to fix something outside this repository.
fail() {
    printf 'error: %s\n' "$*" >&2
    exit 2
}

# Tests whether the user can install Debian packages here.
can_apt() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1
}

apt_offers() {
    apt-cache show "$1" >/dev/null 2>&1
}

apt_lists=old
apt_update() {
    if [ "$apt_lists" = old ]; then
        apt-get update -qq || true # The caller reports what is still missing.
        apt_lists=new
    fi
}

apt_install() {
    echo "   installing $*"
    apt_update
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null || true
}

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

has_venv() {
    "$1" -c 'import ensurepip, venv' >/dev/null 2>&1
}

has_pip() {
    "$1" -c 'import pip' >/dev/null 2>&1
}

# Prints a Python 3.11 or newer that passes the test $1; tested versions come first.
pick_python() {
    for candidate in python3.13 python3.12 python3.11 python3; do
        if command -v "$candidate" >/dev/null 2>&1 && new_enough "$candidate" && "$1" "$candidate"; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

# Sets `python`; installs what is missing if the user is root on Debian or Ubuntu.
find_python() {
    python=$(pick_python has_venv) && return 0
    if can_apt; then
        apt_update
        if python=$(pick_python true); then
            version=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
            apt_install "$version-venv"
        else
            for version in python3.13 python3.12 python3.11; do
                if apt_offers "$version-venv"; then
                    apt_install "$version" "$version-venv"
                    break
                fi
            done
        fi
        python=$(pick_python has_venv) && return 0
    fi
    if python=$(pick_python true); then
        fail "$python cannot make virtual environments: install its venv module (Debian, Ubuntu: apt-get install python3-venv)"
    fi
    found=$(python3 --version 2>/dev/null) || found="no Python"
    fail "expected Python 3.11 or newer, found $found: install Python 3.13 (Debian: apt-get install python3 python3-venv; macOS: brew install python@3.13)"
}

# Creates .venv, and creates it again if it is broken, was copied from elsewhere, or has an older Python.
make_environment() {
    if [ -e .venv ] || [ -L .venv ]; then
        if new_enough .venv/bin/python && { [ ! -f .venv/place ] || [ "$(cat .venv/place)" = "$PWD" ]; } &&
            { has_pip .venv/bin/python || .venv/bin/python -m ensurepip >/dev/null 2>&1; }; then
            printf '%s\n' "$PWD" >.venv/place
            return 0
        fi
        echo "   .venv does not work here: creating it again"
        rm -rf .venv
    fi
    find_python
    echo "   $("$python" --version) in .venv"
    "$python" -m venv .venv
    printf '%s\n' "$PWD" >.venv/place
}

# The files that an installation depends on: nothing is installed again until one of them changes.
ingredients() {
    cat pyproject.toml constraints.txt src/reelgraph/_version.py | cksum
}

# Shows the lines of pip's output (stdin) that explain a wait.
progress() {
    while IFS= read -r line; do
        case $line in
        *Downloading*MB\)*)
            line=${line#*Downloading }
            size=${line##*(}
            echo "   downloading ${line%%-*} ($size"
            ;;
        "Installing collected packages"*) echo "   unpacking" ;;
        esac
    done
}

# Installs reelgraph, editable, in .venv.
#   $1  extras, such as "[test,spark,bench,postgresql,docs,notebook]"; none by default
install_reelgraph() {
    extras=${1-}
    stamp=.venv/installed$extras
    log=.venv/install.log
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(ingredients)" ] && .venv/bin/reelgraph --version >/dev/null 2>&1; then
        echo "   nothing to do"
        return 0
    fi
    rm -f "$stamp"
    echo "   the first time takes some minutes, mostly for PyTorch"
    .venv/bin/python -m pip install --no-input --disable-pip-version-check --progress-bar off \
        -c constraints.txt -e ".$extras" 2>&1 | tee "$log" | progress || {
        grep '^ERROR' "$log" >&2 || tail -n 5 "$log" >&2
        fail "pip could not install reelgraph$extras, see $log: check the network and the free disk space, then run this again"
    }
    ingredients >"$stamp"
}
