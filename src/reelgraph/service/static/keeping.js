/** Where the ratings are kept: in this browser, or with consent on the server as well, under an anonymous id. */

import { ApiError, calmly, inWords } from "./api.js";
import { byId, h, icon } from "./dom.js";
import { counted, given as kind } from "./format.js";
import { notice } from "./notices.js";

const KEY = "reelgraph.keep"; // "browser" if the visitor has declined
const COLUMNS = ["movieId", "title", "year", "rating", "date"];

/** A table as CSV; cells that a spreadsheet would compute are quoted as text. @param {(string | number | null)[][]} rows */
export function toCsv(rows) {
  const cell = (/** @type {string | number | null} */ value) => {
    const text = String(value ?? "");
    const safe = /^[=+@\t\r-]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return `${rows.map((row) => row.map(cell).join(",")).join("\r\n")}\r\n`;
}

/** Stars on Letterboxd's scale of half stars from 0.5 to 5. @param {number} stars @param {import("./format.js").Scale} scale */
export function halfStars(stars, scale) {
  return Math.min(5, Math.max(0.5, Math.round((10 * stars) / scale.high) / 2));
}

/**
 * The ratings as a table, or in the form that Letterboxd imports.
 * @param {import("./state.js").Rated[]} ratings
 * @param {import("./format.js").Scale | null} scale
 * @param {boolean} letterboxd
 */
export function exported(ratings, scale, letterboxd) {
  const day = (/** @type {number} */ at) => (at > 1e9 ? new Date(at).toISOString().slice(0, 10) : "");
  const rows = ratings.map(({ movie, stars, at }) =>
    letterboxd
      ? [movie.imdb_id ? `tt${movie.imdb_id.padStart(7, "0")}` : "", movie.tmdb_id ?? "", movie.title, movie.year, scale ? halfStars(stars, scale) : "", day(at)]
      : [movie.movie_id, movie.title, movie.year, stars, day(at)],
  );
  const head = letterboxd ? ["imdbID", "tmdbID", "Title", "Year", scale ? "Rating" : "", "WatchedDate"] : COLUMNS;
  return toCsv([head, ...rows]);
}

/** @param {string} name @param {string} text */
function download(name, text) {
  const url = URL.createObjectURL(new Blob(["\ufeff", text], { type: "text/csv" }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** Keeps the ratings on the server where the visitor agrees, and lets them be exported and deleted. */
export class Keeping {
  /** @param {import("./api.js").Api} api @param {import("./card.js").Page} page @param {"ask" | "browser" | "server"} keep */
  constructor(api, page, keep) {
    this.api = api;
    this.page = page;
    this.keep = keep;
    /** The anonymous user whose ratings the server keeps. @type {string | null} */
    this.user = null;
    /** What the server has acknowledged. @type {Map<string, number>} */
    this.acknowledged = new Map();
    /** Movies that the server refuses, because its model does not know them. @type {Set<string>} */
    this.refused = new Set();
    this.busy = false;
    this.what = `${kind(page.scale)}s`;
    /** @type {HTMLDialogElement} */
    this.dialog = byId("keep-sheet");
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    byId("keep-open").prepend(icon("keep"));
    byId("keep-open").addEventListener("click", () => this.#open());
    byId("keep-what").addEventListener("click", () => this.#open());
    byId("keep-yes").addEventListener("click", () => this.#agree());
    byId("keep-no").addEventListener("click", () => this.#decline());
    this.save = calmly(() => this.#save(), 300);
    page.visitor.addEventListener("change", () => this.#changed());
    api.addEventListener("up", () => this.save());
    addEventListener("pagehide", () => this.#save());
  }

  /** Finds the visitor of an earlier visit, and the ratings that the server keeps. */
  async restore() {
    if (this.keep !== "browser") {
      try {
        this.user = (await this.api.visitor()).user;
        if (this.user) await this.#join();
      } catch (error) {
        notice(`Your ${this.what} could not be loaded from the server: ${inWords(error)}`, { label: "Try again", run: () => this.restore() });
      }
    }
    this.#changed();
  }

  /** Joins the server's ratings with those of this browser; of two for one movie, this browser's stays. */
  async #join() {
    const { visitor } = this.page;
    const { ratings } = await this.api.ratings(/** @type {string} */ (this.user));
    this.acknowledged = new Map(ratings.map(({ movie, rating }) => [movie, rating]));
    const missing = ratings.filter(({ movie }) => visitor.starsOf(movie) === null);
    if (!missing.length) return;
    const known = new Map((await this.api.movies(missing.map(({ movie }) => movie))).map((movie) => [movie.movie_id, movie]));
    const found = missing.flatMap(({ movie: id, rating, timestamp }) => {
      const movie = known.get(id);
      return movie ? [{ movie, stars: rating, at: 1000 * timestamp }] : [];
    });
    visitor.import(found, [], []);
  }

  get #declined() {
    try {
      return localStorage.getItem(KEY) === "browser";
    } catch {
      return false;
    }
  }

  /** @param {boolean} declined */
  #remember(declined) {
    try {
      if (declined) localStorage.setItem(KEY, "browser");
      else localStorage.removeItem(KEY);
    } catch {
      // Without storage the choice lasts until the page closes.
    }
  }

  #changed() {
    const rated = this.page.visitor.ratings.size > 0;
    const open = this.keep !== "browser" && !this.user && !this.#declined;
    byId("keep-ask").hidden = !(this.keep === "ask" && open && rated);
    if (this.keep === "server" && open && rated) this.#agree();
    const told = this.user ? "server" : "browser";
    for (const element of document.querySelectorAll("[data-kept]")) element.hidden = element.getAttribute("data-kept") !== told;
    if (this.user) this.save();
  }

  async #agree() {
    if (this.busy) return;
    this.busy = true;
    try {
      this.user = (await this.api.becomeVisitor()).user;
      this.#remember(false);
      await this.#join();
      notice(`Your ${this.what} are kept on this server.`, { label: "What is kept?", run: () => this.#open() });
    } catch (error) {
      notice(`The server could not keep your ${this.what}: ${inWords(error)}`);
    } finally {
      this.busy = false;
    }
    this.#changed();
  }

  #decline() {
    this.#remember(true);
    this.#changed();
    byId("shelf-heading").focus({ preventScroll: true });
  }

  /** Sends what has changed since the server's last acknowledgement; a failure is repeated with the next change. */
  async #save() {
    if (!this.user || this.busy) return;
    const { scale, visitor } = this.page;
    const own = visitor.toJson(scale);
    const changed = Object.entries(own).filter(([id, stars]) => this.acknowledged.get(id) !== stars && !this.refused.has(id));
    const removed = [...this.acknowledged.keys()].filter((id) => visitor.starsOf(id) === null);
    if (!changed.length && !removed.length) return;
    this.busy = true;
    let again = true;
    try {
      if (changed.length) {
        await this.api.keep(Object.fromEntries(changed));
        for (const [id, stars] of changed) this.acknowledged.set(id, stars);
      }
      for (const id of removed) {
        await this.api.unkeep(this.user, id);
        this.acknowledged.delete(id);
      }
    } catch (error) {
      again = error instanceof ApiError && error.code === "unknown_id" && !this.refused.has(error.detail?.id);
      if (again) this.refused.add(/** @type {ApiError} */ (error).detail.id);
      else if (!this.api.away) notice(`Your last ${this.what} are not on the server yet: ${inWords(error)}`, { label: "Try again", run: () => this.save() });
    } finally {
      this.busy = false;
    }
    if (again) await this.#save(); // what has changed meanwhile
  }

  async #delete(/** @type {boolean} */ everywhere) {
    const { visitor } = this.page;
    try {
      if (this.user) await this.api.deleteVisitor();
      this.user = null;
      this.acknowledged.clear();
      this.#remember(true);
      if (everywhere) visitor.forgetAll();
      else this.#changed();
      this.dialog.close();
      notice(everywhere ? "All your data is deleted, on the server and in this browser." : `Your ${this.what} are deleted on the server, and stay in this browser.`);
    } catch (error) {
      notice(`Nothing was deleted: ${inWords(error)}`);
    }
  }

  #open() {
    const { visitor, scale } = this.page;
    const rated = [...visitor.ratings.values()].sort((a, b) => b.at - a.at);
    const button = (/** @type {string} */ text, /** @type {() => void} */ run, style = "plain") => h("button", { type: "button", class: `button ${style}`, text, onclick: run });
    const close = () => this.dialog.close();
    const server = [
      h("p", {
        text: this.user
          ? `This server keeps your ${this.what} and when you gave them, under a random id in a cookie of this browser. It knows no name and no address of yours. Watchlist and hidden movies stay in this browser.`
          : `Your ${this.what}, watchlist and hidden movies are in this browser only. They are sent to the server to compute your list, and not stored there.`,
      }),
      this.keep !== "browser" && !this.user && h("p", { text: `If you agree, the server keeps your ${this.what} under a random id in a cookie, so that they are there when you come back, and its model may learn from them. You can delete them here at any time.` }),
      h("div", { class: "share-row" }, ...[
        this.keep !== "browser" && !this.user && button(`Keep my ${this.what} on this server`, () => { close(); this.#agree(); }, ""),
        this.user && button("Delete them on the server", () => this.#delete(false)),
        button("Delete everything", () => this.#delete(true)),
      ].filter((each) => each instanceof Node)),
    ];
    this.dialog.replaceChildren(
      h(
        "div",
        { class: "sheet-inside" },
        h("div", { class: "sheet-tools" }, h("button", { type: "button", class: "round", "aria-label": "Close", onclick: close }, icon("close"))),
        h("h2", { id: "keep-title", text: "Your data" }),
        ...server.filter((each) => each instanceof Node),
        h("h3", { text: "Take it with you" }),
        h("p", { text: `Your ${counted(rated.length, kind(scale))} as a file${scale ? ", as it is or in the form that Letterboxd imports" : ""}.` }),
        h("div", { class: "share-row" },
          button("CSV file", () => download("ratings.csv", exported(rated, scale, false))),
          button("For Letterboxd", () => download("letterboxd.csv", exported(rated, scale, true))),
        ),
      ),
    );
    if (!this.dialog.open) this.dialog.showModal();
  }
}
