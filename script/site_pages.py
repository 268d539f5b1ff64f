"""Pages and links of the documentation site that come from elsewhere in the repository; a hook of mkdocs.yml."""

import inspect
import posixpath
import re
import tempfile
from pathlib import Path
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(\]\()([^)#\s]+)(#[^)\s]*)?(\))")
PICTURES = {".png", ".svg"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the references of commands, settings and routes, and the pictures of benchmarks/results."""
    files.append(File.generated(config, "reference/cli.md", content=command_reference()))
    files.append(File.generated(config, "reference/settings.md", content=settings_reference()))
    files.append(File.generated(config, "reference/http.md", content=http_reference(openapi())))
    for picture in sorted((ROOT / "benchmarks" / "results").rglob("*.[ps][nv]g")):
        name = picture.relative_to(ROOT).as_posix()
        files.append(File.generated(config, name, abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Let links that leave docs/ lead into the repository, and pictures of benchmarks/results into the site."""
    folder = posixpath.dirname(page.file.src_uri)

    def replaced(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join("docs", folder, match[2]))
        if ":" in match[2] or target.startswith("docs/"):
            return match[0]
        if Path(target).suffix in PICTURES:
            return f"{match[1]}{posixpath.relpath(target, folder or '.')}{match[4]}"
        return f"{match[1]}{config.repo_url}/blob/main/{target}{match[3] or ''}{match[4]}"

    return LINK.sub(replaced, markdown)


def command_reference() -> str:
    """A page with the help of all commands."""
    from reelgraph.cli.main import commands  # noqa: PLC0415

    lines = [
        "# Command line", "",
        "Made from the program's own help. Examples of every command are in [commands by example](../commands.md); "
        "settings can also stand in a [TOML file](../configuration.md).",
    ]  # fmt: skip
    parent = click.Context(commands, info_name="reelgraph")
    for name in commands.list_commands(parent):
        command = commands.load(name)
        context = click.Context(command, info_name=name, parent=parent)
        usage = " ".join(["reelgraph", name, *command.collect_usage_pieces(context)])
        records = [record for each in command.get_params(context) if (record := each.get_help_record(context))]
        lines += ["", f"## {name}", "", f"`{usage}`", "", _paragraphs(command.help)]
        rows = [f"| `{_text(option)}` | {_plain(text)} |" for option, text in records]
        lines += ["", "| option | |", "|---|---|", *rows]
    return "\n".join(lines) + "\n"


def _paragraphs(text: str | None) -> str:
    """The text of a help; what click prints as it stands (after a line with a backspace) is code."""
    parts = inspect.cleandoc(text or "").split("\n\n")
    shown = [f"```\n{part[2:]}\n```" if part.startswith("\b\n") else _text(part) for part in parts]
    return "\n\n".join(shown)


def settings_reference() -> str:
    """A page with the fields of `DataConfig` and `TrainConfig`."""
    from reelgraph.config import DataConfig, TrainConfig  # noqa: PLC0415

    lines = [
        "# All settings", "",
        "What `rg.load` and `rg.fit` take by name, `rg.DataConfig` and `rg.TrainConfig` as fields, a "
        "[file of settings](../configuration.md) in its tables, and the command line as options, with hyphens.",
    ]  # fmt: skip
    for title, config in (("Data", DataConfig), ("Training", TrainConfig)):
        lines += ["", f"## {title}", "", "| setting | type | default | |", "|---|---|---|---|"]
        schema = config.model_json_schema()["properties"]
        for name, field in config.model_fields.items():
            default = "" if field.default is None else f"`{field.default!r}`"
            lines.append(f"| `{name}` | {_type(schema[name])} | {default} | {_text(field.description)} |")
    return "\n".join(lines) + "\n"


def openapi() -> dict[str, Any]:
    """The OpenAPI document of the service."""
    from reelgraph.service.app import create_app  # noqa: PLC0415
    from reelgraph.service.settings import Settings  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as empty:
        return create_app(Path(empty), Settings(wait=True)).openapi()


def http_reference(document: dict[str, Any]) -> str:
    """A page with all routes of an OpenAPI document and the fields of what they take and return."""
    lines = [
        "# HTTP", "",
        "Made from the OpenAPI document of the service, which a running service shows at `/docs` and returns at "
        "`/api/openapi.json`. Keys, errors and limits are described in [the service](../service.md).",
    ]  # fmt: skip
    tag = None
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            if (tags := route.get("tags", ["other"]))[0] != tag:
                tag = tags[0]
                lines += ["", f"## {tag.capitalize()}"]
            lines += ["", f"### `{method.upper()} {path}`", "", _text(route.get("description", route.get("summary")))]
            lines += _parameters(route.get("parameters", []))
            lines += _body(route.get("requestBody", {}))
            lines += _responses(route["responses"])
    lines += ["", "## Schemas"]
    for name, schema in sorted(document["components"]["schemas"].items()):
        lines += ["", f"### {name}", "", _text(schema.get("description")), *_fields(schema)]
    return "\n".join(lines) + "\n"


def _parameters(parameters: list[dict[str, Any]]) -> list[str]:
    rows = [
        f"| `{each['name']}` | {each['in']} | {_type(each['schema'])} | {_mark(each.get('required'))} | "
        f"{_text(each.get('description') or each['schema'].get('description'))} |"
        for each in parameters
    ]
    return ["", "| parameter | in | type | required | |", "|---|---|---|---|---|", *rows] if rows else []


def _body(body: dict[str, Any]) -> list[str]:
    kinds = [f"{_type(content.get('schema', {}))} (`{kind}`)" for kind, content in body.get("content", {}).items()]
    return ["", f"Body: {', '.join(kinds)}"] if kinds else []


def _responses(responses: dict[str, Any]) -> list[str]:
    rows = []
    for status, response in responses.items():
        kinds = [_type(content.get("schema", {})) for content in response.get("content", {}).values()]
        rows.append(f"| {status} | {_text(response.get('description'))} | {', '.join(filter(None, kinds))} |")
    return ["", "| status | meaning | returns |", "|---|---|---|", *rows]


def _fields(schema: dict[str, Any]) -> list[str]:
    needed = schema.get("required", [])
    rows = [
        f"| `{name}` | {_type(field)} | {_mark(name in needed)} | {_text(field.get('description'))} |"
        for name, field in schema.get("properties", {}).items()
    ]
    if not rows:
        return ["", _type(schema)]
    return ["", "| field | type | required | |", "|---|---|---|---|", *rows]


def _type(schema: dict[str, Any]) -> str:
    """A type as text, with a link to its schema if it has a name."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(each) for each in schema["anyOf"]))
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}".rstrip()
    if isinstance(values := schema.get("additionalProperties"), dict):
        return f"mapping to {_type(values)}".rstrip()
    limits = [
        f"{word} {schema[key]}"
        for key, word in (("minimum", "from"), ("maximum", "to"), ("maxLength", "at most"))
        if key in schema
    ]
    return " ".join([str(schema.get("type", "anything")), *limits])


def _mark(needed: bool | None) -> str:
    return "yes" if needed else ""


def _plain(text: str) -> str:
    """A text whose brackets are no links."""
    return _text(text).replace("[", "\\[")


def _text(text: str | None) -> str:
    return " ".join((text or "").replace("|", "\\|").split())
