"""A data set with familiar titles, half stars, and two groups of users with opposite tastes."""

import csv
from pathlib import Path

import numpy as np

SPACE = (
    ("Matrix, The", 1999), ("Matrix Reloaded, The", 2003), ("Alien", 1979), ("Aliens", 1986), ("Blade Runner", 1982),
    ("Terminator, The", 1984), ("Terminator 2: Judgment Day", 1991), ("2001: A Space Odyssey", 1968), ("Gattaca", 1997),
    ("Star Wars: Episode IV - A New Hope", 1977), ("Star Wars: Episode V - The Empire Strikes Back", 1980),
    ("Fifth Element, The", 1997), ("Twelve Monkeys (a.k.a. 12 Monkeys)", 1995), ("Contact", 1997), ("Cube", 1997),
    ("Abyss, The", 1989), ("Dark City", 1998), ("Total Recall", 1990), ("Stargate", 1994), ("Solaris (Solyaris)", 1972),
    ("Metropolis", 1927), ("Brazil", 1985), ("RoboCop", 1987), ("E.T. the Extra-Terrestrial", 1982),
)  # fmt: skip
HEARTS = (
    ("Amélie (Fabuleux destin d'Amélie Poulain, Le)", 2001), ("Pretty Woman", 1990), ("Notting Hill", 1999),
    ("Sleepless in Seattle", 1993), ("When Harry Met Sally...", 1989), ("You've Got Mail", 1998), ("Emma", 1996),
    ("Sense and Sensibility", 1995), ("Clueless", 1995), ("Roman Holiday", 1953), ("Sabrina", 1954), ("Big", 1988),
    ("Princess Bride, The", 1987), ("Four Weddings and a Funeral", 1994), ("Chocolat", 2000), ("Ghost", 1990),
    ("Titanic", 1997), ("Philadelphia Story, The", 1940), ("City Lights", 1931), ("Casablanca", 1942), ("Gigi", 1958),
    ("Shakespeare in Love", 1998), ("Much Ado About Nothing", 1993), ("Misérables, Les", 1998),
)  # fmt: skip
BOTH = (
    ("Godfather, The", 1972), ("Shawshank Redemption, The", 1994), ("Schindler's List", 1993), ("Fargo", 1996),
    ("Casino", 1995), ("Heat", 1995), ("Seven (a.k.a. Se7en)", 1995), ("Léon: The Professional", 1994),
    ("<i>M</i>", 1931), ("Usual Suspects, The", 1995), ("Pulp Fiction", 1994), ("Rear Window", 1954),
)  # fmt: skip
GENRES = {SPACE: "Action|Sci-Fi", HEARTS: "Comedy|Romance", BOTH: "Crime|Drama"}


def write_cinema(folder: Path, users: int = 120, seed: int = 0) -> Path:
    """Write ratings.csv and movies.csv: even users love SPACE, odd users love HEARTS, and all like BOTH."""
    rng = np.random.default_rng(seed)
    movies = [(title, year, kind) for kind in GENRES for title, year in kind]
    with (folder / "movies.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["movieId", "title", "genres"])
        writer.writerows(
            [number, f"{title} ({year})", GENRES[kind]] for number, (title, year, kind) in enumerate(movies, 1)
        )
    with (folder / "ratings.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["userId", "movieId", "rating"])
        for user in range(users):
            loved = {SPACE: 4.4, HEARTS: 2.2, BOTH: 4.0} if user % 2 == 0 else {SPACE: 2.2, HEARTS: 4.4, BOTH: 4.0}
            for number, (_, _, kind) in enumerate(movies, 1):
                if rng.random() < 0.5:
                    stars = np.clip(round(2 * (loved[kind] + rng.normal(0, 0.5))) / 2, 0.5, 5)
                    writer.writerow([user + 1, number, f"{stars:g}"])
    return folder
