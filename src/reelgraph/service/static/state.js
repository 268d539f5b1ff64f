/** The visitor's ratings, hidden movies and imported films, stored in this browser only. */

import { fits } from "./format.js";

/** @typedef {import("./format.js").Movie} Movie */
/** @typedef {{movie: Movie, stars: number, at: number}} Rated */
/** @typedef {"rate" | "remove" | "hide" | "unhide" | "want" | "skip" | "all"} Kind */

const KEYS = { stars: "reelgraph.visitor.1", likes: "reelgraph.likes.1" };
export const MOST_RATINGS = 2000; // the server's limit
const MOST_EXCLUDED = 10_000; // the server's limit, for the watchlist as well

/** A movie reduced to what the page shows; null if it is invalid. @param {any} movie @returns {Movie | null} */
export function movieOf(movie) {
  if (!movie || typeof movie.movie_id !== "string") return null;
  const genres = Array.isArray(movie.genres)
    ? movie.genres.filter((/** @type {any} */ genre) => typeof genre === "string")
    : [];
  return {
    movie_id: movie.movie_id,
    title: typeof movie.title === "string" ? movie.title : null,
    year: typeof movie.year === "number" ? movie.year : null,
    genres,
    imdb_id: typeof movie.imdb_id === "string" ? movie.imdb_id : null,
    tmdb_id: typeof movie.tmdb_id === "string" ? movie.tmdb_id : null,
  };
}

/** Movie ids of a stored list. @param {any} ids @returns {string[]} */
function idsOf(ids) {
  return Array.isArray(ids) ? ids.filter((id) => typeof id === "string") : [];
}

/** The visitor's ratings, hidden movies and imported films; dispatches "change" after every change. */
export class Visitor extends EventTarget {
  /** @param {keyof KEYS} [kind] what the visitor gives; a like is 1 star */
  constructor(kind = "stars") {
    super();
    this.key = KEYS[kind];
    /** @type {Map<string, Rated>} */
    this.ratings = new Map();
    /** @type {Map<string, Movie>} */
    this.hidden = new Map();
    /** @type {Set<string>} */
    this.watched = new Set(); // ids of imported films
    /** @type {Set<string>} */
    this.watchlist = new Set();
    /** @type {Set<string>} */
    this.unseen = new Set(); // movies that the visitor could not rate when asked
    this.kept = true; // whether the browser allows storage
    this.#read();
    addEventListener("storage", (event) => {
      if (event.key !== this.key && event.key !== null) return;
      this.#read();
      this.#tell("all", null);
    });
  }

  /** @param {string} id @returns {number | null} */
  starsOf(id) {
    return this.ratings.get(id)?.stars ?? null;
  }

  /**
   * Ratings by movie id, as the server expects them, without those outside the scale (from an earlier model).
   * @param {import("./format.js").Scale | null} scale
   * @returns {Record<string, number>}
   */
  toJson(scale) {
    const fitting = [...this.ratings].filter(([, { stars }]) => fits(stars, scale));
    return Object.fromEntries(fitting.map(([id, { stars }]) => [id, stars]));
  }

  /** Ids of the movies that lists leave out besides the rated ones: hidden and watched ones. @returns {string[]} */
  excluded() {
    const watched = [...this.watched].filter((id) => !this.ratings.has(id));
    return [...watched, ...this.hidden.keys()].slice(-MOST_EXCLUDED);
  }

  /** Ids of the movies that the visitor is not asked about. @param {string[]} asked others of them @returns {string[]} */
  unanswerable(asked = []) {
    return [...this.hidden.keys(), ...this.unseen, ...asked].slice(-MOST_EXCLUDED);
  }

  /**
   * Adds imported films. The visitor's own ratings stay; what does not fit counts as watched.
   * @param {Rated[]} ratings
   * @param {string[]} watched
   * @param {string[]} watchlist
   */
  import(ratings, watched, watchlist) {
    for (const rated of ratings) {
      const movie = movieOf(rated.movie);
      if (!movie || this.ratings.has(movie.movie_id) || this.ratings.size >= MOST_RATINGS) continue;
      this.ratings.set(movie.movie_id, { ...rated, movie });
      this.hidden.delete(movie.movie_id);
    }
    for (const id of watched) this.watched.add(id);
    this.watchlist = new Set([...this.watchlist, ...watchlist].slice(-MOST_EXCLUDED));
    this.#changed("all", null);
  }

  /** Forgets everything. */
  forgetAll() {
    for (const all of [this.ratings, this.hidden, this.watched, this.watchlist, this.unseen]) all.clear();
    this.#changed("all", null);
  }

  /** Forgets which films the visitor has watched and wants to watch. */
  forgetImport() {
    this.watched.clear();
    this.watchlist.clear();
    this.#changed("all", null);
  }

  /** Adds or changes a rating. @param {Movie} movie @param {number} stars */
  rate(movie, stars) {
    const before = this.ratings.get(movie.movie_id);
    if (before?.stars === stars) return;
    const kept = movieOf(movie);
    if (!kept || (!before && this.ratings.size >= MOST_RATINGS)) return;
    this.ratings.set(movie.movie_id, { movie: kept, stars, at: before?.at ?? Date.now() });
    this.hidden.delete(movie.movie_id);
    this.#changed("rate", movie.movie_id);
  }

  /** Removes a rating. @param {string} id */
  remove(id) {
    if (this.ratings.delete(id)) this.#changed("remove", id);
  }

  /** Hides a movie from lists. @param {Movie} movie */
  hide(movie) {
    const kept = movieOf(movie);
    if (!kept) return;
    this.hidden.set(movie.movie_id, kept);
    this.#changed("hide", movie.movie_id);
  }

  /** Shows a hidden movie again. @param {string} id */
  unhide(id) {
    if (this.hidden.delete(id)) this.#changed("unhide", id);
  }

  /** Puts a movie on the watchlist, or takes it off. @param {string} id */
  toggleWanted(id) {
    if (!this.watchlist.delete(id)) this.watchlist = new Set([...this.watchlist, id].slice(-MOST_EXCLUDED));
    this.#changed("want", id);
  }

  /** Does not ask about a movie again. @param {string} id */
  skip(id) {
    this.unseen.add(id);
    this.#changed("skip", id);
  }

  /** Replaces all ratings. @param {Rated[]} ratings */
  replace(ratings) {
    this.ratings = new Map(ratings.slice(0, MOST_RATINGS).map((rated) => [rated.movie.movie_id, rated]));
    for (const id of this.ratings.keys()) this.hidden.delete(id);
    this.#changed("all", null);
  }

  /** @param {Kind} kind @param {string | null} id */
  #changed(kind, id) {
    try {
      const value = {
        ratings: [...this.ratings.values()],
        hidden: [...this.hidden.values()],
        watched: [...this.watched],
        watchlist: [...this.watchlist],
        unseen: [...this.unseen],
      };
      localStorage.setItem(this.key, JSON.stringify(value));
    } catch {
      this.kept = false; // Storage is full or blocked: ratings last until the page closes.
    }
    this.#tell(kind, id);
  }

  /** @param {Kind} kind @param {string | null} id */
  #tell(kind, id) {
    this.dispatchEvent(new CustomEvent("change", { detail: { kind, id } }));
  }

  #read() {
    let stored = null;
    try {
      stored = JSON.parse(localStorage.getItem(this.key) ?? "null");
    } catch {
      stored = null; // Damaged or blocked storage counts as empty.
    }
    this.ratings.clear();
    this.hidden.clear();
    this.watched = new Set(idsOf(stored?.watched));
    this.watchlist = new Set(idsOf(stored?.watchlist));
    this.unseen = new Set(idsOf(stored?.unseen));
    for (const rated of Array.isArray(stored?.ratings) ? stored.ratings : []) {
      const movie = movieOf(rated?.movie);
      if (movie && Number.isFinite(rated.stars)) {
        this.ratings.set(movie.movie_id, { movie, stars: rated.stars, at: Number(rated.at) || 0 });
      }
    }
    for (const hidden of Array.isArray(stored?.hidden) ? stored.hidden : []) {
      const movie = movieOf(hidden);
      if (movie) this.hidden.set(movie.movie_id, movie);
    }
  }
}
