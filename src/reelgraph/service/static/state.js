/** What the visitor has said: stars, and movies of no interest. Kept in this browser only. */

/** @typedef {import("./format.js").Movie} Movie */
/** @typedef {{movie: Movie, stars: number, at: number}} Rated */
/** @typedef {"rate" | "remove" | "hide" | "unhide" | "all"} Kind */

const KEY = "reelgraph.visitor.1";
export const MOST_RATINGS = 2000; // as many as the server takes, of movies of no interest, too

/** Only what the page shows of a movie. @param {any} movie @returns {Movie | null} */
function movieOf(movie) {
  if (!movie || typeof movie.movie_id !== "string") return null;
  const genres = Array.isArray(movie.genres)
    ? movie.genres.filter((/** @type {any} */ one) => typeof one === "string")
    : [];
  return {
    movie_id: movie.movie_id,
    title: typeof movie.title === "string" ? movie.title : null,
    year: typeof movie.year === "number" ? movie.year : null,
    genres,
  };
}

/** The visitor's ratings and dislikes; tells of every change by an event "change". */
export class Visitor extends EventTarget {
  constructor() {
    super();
    /** @type {Map<string, Rated>} */
    this.ratings = new Map();
    /** @type {Map<string, Movie>} */
    this.hidden = new Map();
    this.kept = true; // whether the browser lets the page keep anything
    this.#read();
    addEventListener("storage", (event) => {
      if (event.key !== KEY && event.key !== null) return;
      this.#read();
      this.#tell("all", null);
    });
  }

  /** @param {string} id @returns {number | null} */
  starsOf(id) {
    return this.ratings.get(id)?.stars ?? null;
  }

  /**
   * Ratings by movie id, as the server wants them; without those of another scale, from before another model.
   * @param {import("./format.js").Scale} scale
   * @returns {Record<string, number>}
   */
  toJson({ low, high }) {
    const fitting = [...this.ratings].filter(([, { stars }]) => stars >= low && stars <= high);
    return Object.fromEntries(fitting.map(([id, { stars }]) => [id, stars]));
  }

  /** Give or change stars. @param {Movie} movie @param {number} stars */
  rate(movie, stars) {
    const before = this.ratings.get(movie.movie_id);
    if (before?.stars === stars) return;
    const kept = movieOf(movie);
    if (!kept || (!before && this.ratings.size >= MOST_RATINGS)) return;
    this.ratings.set(movie.movie_id, { movie: kept, stars, at: before?.at ?? Date.now() });
    this.hidden.delete(movie.movie_id);
    this.#changed("rate", movie.movie_id);
  }

  /** Take stars back. @param {string} id */
  remove(id) {
    if (this.ratings.delete(id)) this.#changed("remove", id);
  }

  /** Keep a movie out of lists. @param {Movie} movie */
  hide(movie) {
    const kept = movieOf(movie);
    if (!kept) return;
    this.hidden.set(movie.movie_id, kept);
    this.#changed("hide", movie.movie_id);
  }

  /** Let it into lists again. @param {string} id */
  unhide(id) {
    if (this.hidden.delete(id)) this.#changed("unhide", id);
  }

  /** All ratings at once. @param {Rated[]} ratings */
  replace(ratings) {
    this.ratings = new Map(ratings.slice(0, MOST_RATINGS).map((rated) => [rated.movie.movie_id, rated]));
    for (const id of this.ratings.keys()) this.hidden.delete(id);
    this.#changed("all", null);
  }

  /** @param {Kind} kind @param {string | null} id */
  #changed(kind, id) {
    try {
      const value = { ratings: [...this.ratings.values()], hidden: [...this.hidden.values()] };
      localStorage.setItem(KEY, JSON.stringify(value));
    } catch {
      this.kept = false; // Storage is full or switched off: the ratings live as long as the page.
    }
    this.#tell(kind, id);
  }

  /** @param {Kind} kind @param {string | null} id */
  #tell(kind, id) {
    this.dispatchEvent(new CustomEvent("change", { detail: { kind, id } }));
  }

  #read() {
    let found = null;
    try {
      found = JSON.parse(localStorage.getItem(KEY) ?? "null");
    } catch {
      found = null; // Damaged or out of reach: as if nothing had been said.
    }
    this.ratings.clear();
    this.hidden.clear();
    for (const one of Array.isArray(found?.ratings) ? found.ratings : []) {
      const movie = movieOf(one?.movie);
      if (movie && Number.isFinite(one.stars)) {
        this.ratings.set(movie.movie_id, { movie, stars: one.stars, at: Number(one.at) || 0 });
      }
    }
    for (const one of Array.isArray(found?.hidden) ? found.hidden : []) {
      const movie = movieOf(one);
      if (movie) this.hidden.set(movie.movie_id, movie);
    }
  }
}
