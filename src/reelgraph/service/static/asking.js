/** "Rate a few more": a row of the movies whose ratings would say most about the visitor, until enough are rated. */

import { ApiError, calmly, dropped, Latest } from "./api.js";
import { byId, h } from "./dom.js";
import { titleOf } from "./format.js";
import { spineOf } from "./shelf.js";

/** @typedef {import("./format.js").Movie} Movie */

export const ENOUGH = 5; // below this many ratings the page asks for more
const LENGTH = 6;

export class Asking {
  /** @param {import("./api.js").Api} api @param {import("./card.js").Page} page */
  constructor(api, page) {
    this.api = api;
    this.page = page;
    this.latest = new Latest();
    /** @type {Map<string, {element: HTMLElement, update: () => void}>} */
    this.asked = new Map();
    this.section = byId("ask");
    this.row = byId("ask-row");
    const renew = calmly(() => this.#renew(), 150);
    page.visitor.addEventListener("change", () => {
      this.#show([]);
      renew();
    });
    api.addEventListener("up", renew);
    this.section.addEventListener("focusout", (/** @type {FocusEvent} */ { relatedTarget }) => {
      if (!this.section.contains(/** @type {Node | null} */ (relatedTarget))) renew();
    });
    this.#renew();
  }

  /** Whether the visitor has begun and may say more; who is rating in the row may go on. */
  get #open() {
    const rated = this.page.visitor.ratings.size;
    return rated > 0 && (rated < ENOUGH || this.row.contains(document.activeElement));
  }

  async #renew() {
    if (!this.#open) {
      this.latest.drop();
      return this.#show([]);
    }
    const { visitor, scale } = this.page;
    const body = { ratings: visitor.toJson(scale), k: Math.min(LENGTH, this.page.movies), exclude: visitor.unanswerable() };
    try {
      const { movies } = await this.latest.run((signal) => this.api.questions(body, signal));
      this.#show(movies);
    } catch (error) {
      if (!dropped(error) && !(error instanceof ApiError)) throw error; // The list tells of a server that fails.
    }
  }

  /**
   * Removes the movies that are answered and appends others. One that is being rated stays until the focus leaves it.
   * @param {Movie[]} movies
   */
  #show(movies) {
    const { visitor } = this.page;
    const focused = document.activeElement?.closest("#ask-row > li");
    for (const [id, { element, update }] of this.asked) {
      update();
      const answered = visitor.starsOf(id) !== null && element !== focused;
      if (this.#open && !answered && !visitor.unseen.has(id) && !visitor.hidden.has(id)) continue;
      element.remove();
      this.asked.delete(id);
    }
    for (const movie of this.#open ? movies : []) {
      if (this.asked.size < LENGTH && !this.asked.has(movie.movie_id)) this.#append(movie);
    }
    this.section.hidden = !this.asked.size;
  }

  /** @param {Movie} movie */
  #append(movie) {
    const { element, words, update } = spineOf(movie, this.page, "why");
    words.append(
      h("button", {
        type: "button",
        class: "quiet",
        text: "Not seen",
        "aria-label": `I have not seen ${titleOf(movie)}`,
        onclick: () => {
          const next = element.nextElementSibling ?? element.previousElementSibling;
          (next?.querySelector(".quiet") ?? byId("shelf-heading")).focus({ preventScroll: true });
          this.page.visitor.skip(movie.movie_id);
        },
      }),
    );
    this.asked.set(movie.movie_id, { element, update });
    this.row.append(element);
  }
}
