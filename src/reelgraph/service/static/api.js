/** Requests to the server: outdated ones are cancelled, and an unreachable server is polled until it is back. */

/** @typedef {import("./format.js").Movie} Movie */
/** @typedef {Movie & {prediction: number | null, interval: [number, number] | null,
 *   members?: {name: string, prediction: number | null}[]}} Suggestion */
/** @typedef {Movie & {ratings: number, mean: number | null}} MovieFacts */
/** @typedef {{movies: number, users: number, ratings: number, scale: import("./format.js").Scale | null,
 *   genres: {name: string, movies: number}[], years: [number, number] | null, artifact: {id: string},
 *   posters: boolean, keep: "ask" | "browser" | "server"}} Catalogue */
/** @typedef {{ratings: Record<string, number>, k: number, genre: string | null, year: string | null, order: string | null,
 *   exclude: string[], only?: string[] | null, offset: number}} ListRequest */
/** @typedef {{title: string, year: number | null, similar: Movie[]}} Unmatched */
/** @typedef {{ratings: Record<string, number>, watched: string[], watchlist: string[], unmatched: Unmatched[],
 *   movies: MovieFacts[]}} Imported */

/** The address of the page, which also serves /movie/ID. */
export const ROOT = new URL("../", import.meta.url).href;
const TIMEOUT = 10_000; // ms
const UPLOAD_TIMEOUT = 60_000; // ms, for a file that may be large
const WAITS = [1000, 2000, 4000, 8000, 15_000]; // ms between polls
const MAX_RETRIES = 3; // after "too many requests"

/** A request that failed or got no response. */
export class ApiError extends Error {
  /** @param {string} code the service's error code, or "unreachable" @param {string} message @param {any} [detail] */
  constructor(code, message, detail) {
    super(message);
    this.code = code;
    this.detail = detail;
  }
}

/** A message for the visitor; unexpected errors go to the console. @param {unknown} error */
export function inWords(error) {
  if (error instanceof ApiError) return error.message;
  console.error(error);
  return "Something went wrong.";
}

/** Whether an error only means that the request was cancelled. @param {unknown} error */
export function dropped(error) {
  return error instanceof DOMException && error.name === "AbortError";
}

/** @param {number} ms @param {AbortSignal | undefined} signal */
function pause(ms, signal) {
  return new Promise((done, failed) => {
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      failed(signal.reason);
    });
  });
}

/** The server. Dispatches "down" before each poll, with `wait` in ms, and "up" when it is back. */
export class Api extends EventTarget {
  constructor() {
    super();
    this.away = false;
    this.looks = 0;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    addEventListener("online", () => this.away && this.look());
  }

  /** @param {AbortSignal} [signal] @returns {Promise<Catalogue>} */
  catalogue(signal) {
    return this.#ask("api/catalogue", { signal });
  }

  /** @param {ListRequest} question @param {AbortSignal} [signal]
   *  @returns {Promise<{movies: Suggestion[], more: boolean, unknown: string[], order_reason: string}>} */
  list(question, signal) {
    return this.#ask("api/recommendations", { signal, body: question });
  }

  /** The movies to ask a visitor about next. @param {Pick<ListRequest, "ratings" | "k" | "exclude">} body
   *  @param {AbortSignal} [signal] @returns {Promise<{movies: Suggestion[]}>} */
  questions(body, signal) {
    return this.#ask("api/questions", { signal, body });
  }

  /** @param {string} text @param {number} limit @param {AbortSignal} [signal]
   *  @returns {Promise<{movies: MovieFacts[], total: number}>} */
  search(text, limit, signal) {
    return this.#ask(`api/movies?${new URLSearchParams({ q: text, limit: String(limit) })}`, { signal });
  }

  /** @param {string} id @param {AbortSignal} [signal] @returns {Promise<MovieFacts>} */
  movie(id, signal) {
    return this.#ask(`api/movies/${encodeURIComponent(id)}`, { signal });
  }

  /**
   * Movies by id; ids that the server does not know are skipped.
   * @param {string[]} ids
   * @param {AbortSignal} [signal]
   * @returns {Promise<Movie[]>}
   */
  async movies(ids, signal) {
    const parts = [];
    for (let start = 0; start < ids.length; start += 50) {
      const query = new URLSearchParams(ids.slice(start, start + 50).map((id) => ["id", id]));
      parts.push(this.#ask(`api/movies?limit=50&${query}`, { signal }));
    }
    return (await Promise.all(parts)).flatMap((part) => part.movies);
  }

  /** @param {string} id @param {AbortSignal} [signal] @returns {Promise<{movies: (Movie & {similarity: number})[]}>} */
  similar(id, signal) {
    return this.#ask(`api/movies/${encodeURIComponent(id)}/similar?k=12`, { signal });
  }

  /** @param {string} id @param {Record<string, number>} ratings @param {AbortSignal} [signal]
   *  @returns {Promise<import("./why.js").Explanation>} */
  explain(id, ratings, signal) {
    return this.#ask("api/explanations", { signal, body: { movie: id, ratings } });
  }

  /** The films of an export of another service. @param {File} file @param {AbortSignal} [signal]
   *  @returns {Promise<Imported>} */
  match(file, signal) {
    const query = new URLSearchParams({ name: file.name.slice(0, 200) });
    return this.#ask(`api/exports?${query}`, { signal, body: file });
  }

  /** The anonymous user whose ratings the server keeps, if any. @returns {Promise<{user: string | null}>} */
  visitor() {
    return this.#ask("api/visitors");
  }

  /** @returns {Promise<{user: string}>} */
  becomeVisitor() {
    return this.#ask("api/visitors", { body: {} });
  }

  /** Deletes what the server keeps of the visitor. @returns {Promise<{deleted: number}>} */
  deleteVisitor() {
    return this.#ask("api/visitors", { method: "DELETE" });
  }

  /** @param {string} user @returns {Promise<{ratings: {movie: string, rating: number, timestamp: number}[]}>} */
  ratings(user) {
    return this.#ask(`api/users/${encodeURIComponent(user)}/ratings`);
  }

  /** Keeps ratings on the server. @param {Record<string, number>} ratings */
  keep(ratings) {
    return this.#ask("api/ratings/batch", { body: { ratings } });
  }

  /** A token with which others list movies together with the visitor. @returns {Promise<{share: string}>} */
  share() {
    return this.#ask("api/shares", { body: {} });
  }

  /** @param {string} user @param {string} id */
  unkeep(user, id) {
    return this.#ask(`api/users/${encodeURIComponent(user)}/ratings/${encodeURIComponent(id)}`, { method: "DELETE" });
  }

  /**
   * @param {string} path
   * @param {{signal?: AbortSignal, body?: any, method?: string}} [how] `body` is sent as JSON, or as it is if it is a file
   * @returns {Promise<any>}
   */
  async #ask(path, { signal, body, method } = {}) {
    for (let turn = 0; ; turn += 1) {
      const { answer, content } = await this.#send(path, signal, body, method);
      if (answer.ok && content !== null) return content;
      if (answer.status === 429 && turn < MAX_RETRIES) {
        await pause(1000 * Math.min(Number(answer.headers.get("Retry-After")) || 1, 30), signal);
        continue;
      }
      const error = content?.error;
      throw new ApiError(
        error?.code ?? "internal",
        error?.message ?? `The server answered with status ${answer.status}.`,
        error?.detail,
      );
    }
  }

  /**
   * Sends one request and reads the whole response; starts polling if the server is unreachable or has no model yet.
   * @param {string} path
   * @param {AbortSignal | undefined} signal
   * @param {any} body
   * @param {string} [method]
   */
  async #send(path, signal, body, method = body === undefined ? "GET" : "POST") {
    const isFile = body instanceof Blob;
    const late = AbortSignal.timeout(isFile ? UPLOAD_TIMEOUT : TIMEOUT);
    const both = signal ? AbortSignal.any([signal, late]) : late;
    const headers = { "Content-Type": isFile ? "application/octet-stream" : "application/json" };
    const sent = isFile ? body : JSON.stringify(body);
    const changes = method === "DELETE" || path.startsWith("api/ratings"); // to be finished when the page is left
    const keepalive = changes && (sent?.length ?? 0) < 60_000;
    const what = { method, keepalive, ...(body === undefined ? {} : { body: sent, headers }) };
    try {
      const answer = await fetch(ROOT + path, { ...what, signal: both });
      if (answer.status >= 502) throw new Error(answer.statusText);
      const content = await answer.json().catch((error) => {
        if (error instanceof SyntaxError) return null; // A proxy answered.
        throw error;
      });
      this.#found();
      return { answer, content };
    } catch {
      if (signal?.aborted) throw new DOMException("The request was cancelled.", "AbortError");
      this.#lost();
      throw new ApiError("unreachable", "The server cannot be reached.");
    }
  }

  /** Polls an unreachable server now. */
  async look() {
    clearTimeout(this.timer);
    try {
      const answer = await fetch(`${ROOT}api/catalogue`, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT) });
      if (answer.ok) return this.#found();
    } catch {
      // still unreachable
    }
    return this.#wait();
  }

  #found() {
    if (!this.away) return;
    clearTimeout(this.timer);
    this.away = false;
    this.looks = 0;
    this.dispatchEvent(new Event("up"));
  }

  #lost() {
    if (this.away) return;
    this.away = true;
    this.#wait();
  }

  #wait() {
    if (!this.away) return;
    const wait = WAITS[Math.min(this.looks, WAITS.length - 1)] * (0.8 + 0.4 * Math.random());
    this.looks += 1;
    this.timer = setTimeout(() => this.look(), wait);
    this.dispatchEvent(new CustomEvent("down", { detail: { wait } }));
  }
}

/** Keeps only the latest request: a newer one cancels the older. */
export class Latest {
  constructor() {
    /** @type {AbortController | null} */
    this.controller = null;
  }

  /** @template Answer @param {(signal: AbortSignal) => Promise<Answer>} ask @returns {Promise<Answer>} */
  run(ask) {
    this.drop();
    this.controller = new AbortController();
    return ask(this.controller.signal);
  }

  drop() {
    this.controller?.abort();
  }
}

/**
 * Runs the first call at once, and of calls in quick succession only the last (debounce).
 * @template {any[]} Values
 * @param {(...values: Values) => void} call
 * @param {number} ms
 */
export function calmly(call, ms) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let last = -Infinity;
  return (/** @type {Values} */ ...values) => {
    clearTimeout(timer);
    const quiet = performance.now() - last >= ms;
    last = performance.now();
    if (quiet) call(...values);
    else timer = setTimeout(() => call(...values), ms);
  };
}
