/** Search as you type: results below the field, each with stars for rating. */

import { calmly, dropped, inWords, Latest } from "./api.js";
import { byId, h } from "./dom.js";
import { counted, factsOf, titleOf, value } from "./format.js";
import { poster } from "./poster.js";
import { rating } from "./rating.js";

const PAGE_SIZE = 8;
const MAX_RESULTS = 100;

export class Search {
  /** @param {import("./api.js").Api} api @param {import("./card.js").Page} page */
  constructor(api, page) {
    this.api = api;
    this.page = page;
    this.latest = new Latest();
    this.length = PAGE_SIZE;
    this.shownFor = ""; // the query of the results on the page
    this.descending = false; // whether the down arrow was pressed before the results arrived
    /** @type {{element: HTMLElement, input: HTMLElement, update: () => void}[]} */
    this.rows = [];
    this.form = byId("search");
    this.field = byId("q");
    this.panel = byId("results");
    this.status = byId("results-said");
    const ask = calmly(() => this.#ask(), 120);
    this.field.addEventListener("input", () => {
      this.length = PAGE_SIZE;
      this.descending = false;
      ask();
    });
    this.field.addEventListener("focus", () => this.field.value.trim() && this.panel.hidden && this.#ask());
    this.form.addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      this.#ask();
    });
    this.form.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#key(event));
    this.form.addEventListener("focusout", (/** @type {FocusEvent} */ event) => {
      // A movie opened from here takes the focus and returns it.
      if (
        event.relatedTarget instanceof Node &&
        !this.form.contains(event.relatedTarget) &&
        !byId("sheet").contains(event.relatedTarget)
      )
        this.close();
    });
    document.addEventListener("pointerdown", (event) => {
      if (!byId("sheet").open && event.target instanceof Node && !this.form.contains(event.target)) this.close();
    });
    document.addEventListener("keydown", (event) => {
      const typing =
        event.target instanceof Element &&
        event.target.closest("input:not([type=range]):not([type=radio]), select, textarea");
      if (
        event.key !== "/" ||
        typing ||
        event.ctrlKey ||
        event.metaKey ||
        byId("sheet").open ||
        byId("share-sheet").open
      )
        return;
      event.preventDefault();
      this.field.focus();
      this.field.select();
    });
    page.visitor.addEventListener("change", () => {
      for (const row of this.rows) row.update();
    });
    api.addEventListener("up", () => !this.panel.hidden && this.#ask());
  }

  close() {
    this.latest.drop();
    this.panel.hidden = true;
    this.rows = [];
    this.shownFor = "";
    this.status.textContent = "";
  }

  async #ask() {
    const text = this.field.value.trim();
    if (!text) return this.close();
    try {
      const found = await this.latest.run((signal) => this.api.search(text, this.length, signal));
      this.#show(text, found.movies, found.total);
    } catch (error) {
      if (dropped(error)) return;
      const message = inWords(error);
      this.rows = [];
      this.#open([h("p", { class: "hint", text: message })]);
      this.status.textContent = message;
    }
  }

  /** @param {string} text @param {import("./api.js").MovieFacts[]} movies @param {number} total */
  #show(text, movies, total) {
    this.rows = movies.map((movie) => this.#row(movie));
    this.status.textContent = total
      ? `${counted(total, "movie")} found. Press the down arrow for the first one.`
      : `No movies found for ${text}.`;
    /** @type {HTMLElement[]} */
    const content = total
      ? [h("ul", { class: "found" }, ...this.rows.map((row) => row.element))]
      : [h("p", { class: "hint" }, "No movies found for ", h("b", { text }), ". Try one or two words of the title.")];
    if (total > movies.length && movies.length < MAX_RESULTS) {
      content.push(
        h("button", {
          type: "button",
          class: "quiet wide",
          text: `Show more of ${total.toLocaleString("en")} results`,
          onclick: () => this.#longer(),
        }),
      );
    }
    this.#open(content);
    this.shownFor = text;
    if (!this.descending || text !== this.field.value.trim()) return;
    this.descending = false;
    this.rows[0]?.input.focus();
  }

  async #longer() {
    const place = this.length;
    this.length = Math.min(MAX_RESULTS, this.length * 3);
    await this.#ask();
    this.rows[place]?.input.focus();
  }

  /** @param {Node[]} content */
  #open(content) {
    this.panel.replaceChildren(...content);
    this.panel.hidden = false;
  }

  /** @param {import("./api.js").MovieFacts} movie */
  #row(movie) {
    const given = rating(movie, this.page);
    const { scale } = this.page;
    const mean =
      movie.mean === null || !scale ? "" : `${value(movie.mean, scale)} (${counted(movie.ratings, "rating")})`;
    const element = h(
      "li",
      { class: "found-row", "data-movie": movie.movie_id },
      poster(movie, "small"),
      h(
        "div",
        { class: "found-words" },
        h("button", {
          type: "button",
          class: "tile-open",
          text: titleOf(movie),
          onclick: () => this.page.open(movie, "why"),
        }),
        h("p", { class: "card-facts" }, factsOf(movie), mean && h("span", { class: "found-mean", text: mean })),
      ),
      given.element,
    );
    return { element, input: given.input, update: given.update };
  }

  /** Arrow keys move through the results, Escape closes them. @param {KeyboardEvent} event */
  #key(event) {
    if (event.key === "Escape" && !this.panel.hidden) {
      event.preventDefault();
      this.field.focus(); // Before closing: focusing the field would open the results again.
      this.close();
    } else if (event.key === "ArrowDown" && event.target === this.field && this.shownFor !== this.field.value.trim()) {
      event.preventDefault();
      this.descending = true;
    } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && this.rows.length) {
      event.preventDefault();
      const place = this.rows.findIndex((row) => row.element.contains(document.activeElement));
      const next = place + (event.key === "ArrowDown" ? 1 : -1);
      if (next < 0) this.field.focus();
      else this.rows[Math.min(next, this.rows.length - 1)].input.focus();
    }
  }
}
