/** The visitor’s rated movies, and the movies hidden as not interesting. */

import { byId, h, icon, mayMove } from "./dom.js";
import { counted, factsOf, given as kind, titleOf } from "./format.js";
import { notice } from "./notices.js";
import { poster } from "./poster.js";
import { rating } from "./rating.js";

/** @typedef {{element: HTMLElement, words: HTMLElement, update: () => void, note: (text: string) => void}} Spine */

/** @typedef {import("./state.js").Rated} Rated */
/** @type {Record<string, (a: Rated, b: Rated) => number>} */
const ORDERS = {
  newest: (a, b) => b.at - a.at,
  stars: (a, b) => b.stars - a.stars || b.at - a.at,
  title: (a, b) => titleOf(a.movie).localeCompare(titleOf(b.movie)),
  year: (a, b) => (b.movie.year ?? 0) - (a.movie.year ?? 0),
};

/**
 * A movie in a row, with the control for its rating.
 * @param {import("./format.js").Movie} movie
 * @param {import("./card.js").Page} page
 * @param {import("./card.js").View} view which its title opens
 * @returns {Spine}
 */
export function spineOf(movie, page, view) {
  const given = rating(movie, page);
  const facts = h("p", { class: "card-facts", text: factsOf(movie, 1) });
  const open = h("button", { type: "button", class: "tile-open", text: titleOf(movie), onclick: () => page.open(movie, view) });
  const words = h("div", { class: "spine-words" }, open, facts, given.element);
  return {
    element: h("li", { class: "spine", "data-movie": movie.movie_id }, poster(movie, "small"), words),
    words,
    update: given.update,
    note: (text) => {
      facts.textContent = text || factsOf(movie, 1);
    },
  };
}

export class Shelf {
  /** @param {import("./card.js").Page} page */
  constructor(page) {
    this.page = page;
    /** @type {Map<string, Spine>} */
    this.spines = new Map();
    this.row = byId("shelf-row");
    byId("shelf-clear").addEventListener("click", () => this.#clear());
    byId("shelf-all").addEventListener("click", () => this.#unfold());
    byId("shelf-order").addEventListener("change", () => this.update());
    page.visitor.addEventListener("change", () => this.update());
    this.update();
  }

  update() {
    const { ratings, hidden, kept } = this.page.visitor;
    byId("hero").hidden = ratings.size > 0;
    byId("shelf").hidden = ratings.size === 0;
    byId("shelf-count").textContent = String(ratings.size);
    byId("rated-count").textContent = String(ratings.size);
    byId("rated-link").hidden = ratings.size === 0;
    byId("not-kept").hidden = kept;
    byId("shelf-all").hidden = ratings.size < 3;
    const focused = document.activeElement;
    const order = [...ratings.values()].sort(ORDERS[byId("shelf-order").value] ?? ORDERS.newest);
    byId("shelf-order").parentElement.hidden = ratings.size < 3;
    const spines = order.map(({ movie }) => [movie.movie_id, this.spines.get(movie.movie_id) ?? spineOf(movie, this.page, "similar")]);
    const fresh = spines.filter(([id]) => !this.spines.has(/** @type {string} */ (id)));
    this.spines = new Map(/** @type {[string, Spine][]} */ (spines));
    const elements = [...this.spines.values()].map((spine) => spine.element);
    if (
      elements.length !== this.row.children.length ||
      elements.some((element, place) => this.row.children[place] !== element)
    )
      this.row.replaceChildren(...elements);
    if (focused instanceof HTMLElement && focused !== document.activeElement) {
      if (focused.isConnected) focused.focus({ preventScroll: true });
      else byId(ratings.size ? "shelf-heading" : "list").focus({ preventScroll: true });
    }
    for (const spine of this.spines.values()) spine.update();
    if (fresh.length) this.row.scrollTo({ left: 0 });
    if (fresh.length === 1 && mayMove()) {
      /** @type {Spine} */ (fresh[0][1]).element.animate(
        [
          { opacity: 0, transform: "scale(.92)" },
          { opacity: 1, transform: "none" },
        ],
        { duration: 260, easing: "ease-out" },
      );
    }
    this.#hidden([...hidden.values()]);
  }

  /** Marks rated movies that the model does not know. @param {string[]} unknown */
  mark(unknown) {
    for (const [id, spine] of this.spines) spine.note(unknown.includes(id) ? "not in this catalogue" : "");
  }

  /** @param {import("./format.js").Movie[]} movies */
  #hidden(movies) {
    const box = byId("hidden-box");
    if (box.contains(document.activeElement) && !movies.length) byId("list").focus({ preventScroll: true });
    box.hidden = movies.length === 0;
    byId("hidden-count").textContent = `Not interested: ${counted(movies.length, "movie")}`;
    byId("hidden-list").replaceChildren(
      ...movies.reverse().map((movie) =>
        h(
          "li",
          { class: "hidden-row" },
          h("span", { text: titleOf(movie) }),
          h(
            "button",
            {
              type: "button",
              class: "quiet",
              "aria-label": `Bring back ${titleOf(movie)}`,
              onclick: () => this.#bringBack(movie.movie_id),
            },
            icon("undo"),
            "Bring back",
          ),
        ),
      ),
    );
  }

  /** @param {string} id */
  #bringBack(id) {
    this.page.visitor.unhide(id);
    const next = byId("hidden-list").querySelector("button");
    if (next) next.focus();
  }

  #clear() {
    const before = [...this.page.visitor.ratings.values()];
    this.page.visitor.replace([]);
    byId("list").focus({ preventScroll: true });
    notice(`${counted(before.length, kind(this.page.scale))} removed.`, {
      label: "Undo",
      run: () => this.page.visitor.replace(before),
    });
  }

  #unfold() {
    const open = byId("shelf").classList.toggle("unfolded");
    const button = byId("shelf-all");
    button.textContent = open ? "Show one row" : "Show all";
    button.setAttribute("aria-expanded", String(open));
  }
}
