/** The list of suggestions: asked for again with every change, moved into its new order, longer on demand. */

import { ApiError, calmly, dropped, inWords, Latest } from "./api.js";
import { card } from "./card.js";
import { byId, h, icon, mayMove } from "./dom.js";
import { counted, titleOf, value } from "./format.js";
import { notice, say } from "./notices.js";
import { MOST_RATINGS } from "./state.js";

/** @typedef {import("./api.js").Suggestion} Suggestion */
/** @typedef {import("./card.js").Card} Card */

const LENGTH = 24;
const FURTHEST = 1000; // how far into a list the server goes
const ENOUGH = 5; // ratings from which on the page stops asking for more

export class List {
  /**
   * @param {import("./api.js").Api} api
   * @param {import("./card.js").Page} page
   * @param {import("./filters.js").Filters} filters
   * @param {(ids: string[]) => void} onunknown told which rated movies the model in service does not know
   */
  constructor(api, page, filters, onunknown) {
    this.onunknown = onunknown;
    /** @type {Suggestion | undefined} */
    this.pinned = undefined;
    this.api = api;
    this.page = page;
    this.filters = filters;
    this.latest = new Latest();
    /** @type {Map<string, Card>} */
    this.cards = new Map();
    /** @type {Suggestion[]} */
    this.shown = [];
    this.element = byId("list");
    this.more = byId("more");
    this.state = byId("list-state");
    this.refresh = calmly(() => this.#renew(), 150);
    this.more.addEventListener("click", () => this.#extend());
    filters.addEventListener("change", () => this.refresh());
    page.visitor.addEventListener("change", () => {
      for (const one of this.cards.values()) one.refresh();
      this.refresh();
    });
    api.addEventListener("up", () => this.refresh());
  }

  /** @param {number} offset @returns {import("./api.js").ListQuestion} */
  #question(offset) {
    const { visitor } = this.page;
    return {
      ratings: visitor.toJson(this.page.scale),
      k: Math.min(LENGTH, this.page.movies),
      exclude: [...visitor.hidden.keys()].slice(-MOST_RATINGS),
      offset,
      ...this.filters.value,
    };
  }

  async #renew() {
    const slow = setTimeout(() => this.element.classList.add("waiting"), 200);
    this.element.setAttribute("aria-busy", "true");
    this.more.disabled = false; // A part that was under way is not wanted any more.
    try {
      const answer = await this.latest.run((signal) => this.api.list(this.#question(0), signal));
      this.#show(answer.movies, answer.more);
      this.onunknown(answer.unknown);
      this.element.classList.remove("waiting");
    } catch (error) {
      if (dropped(error)) return;
      this.#fail(error);
    } finally {
      clearTimeout(slow);
    }
    this.element.removeAttribute("aria-busy");
  }

  async #extend() {
    if (this.element.hasAttribute("aria-busy")) return; // What is shown is about to change.
    const before = this.shown.length;
    this.more.disabled = true;
    try {
      const answer = await this.latest.run((signal) => this.api.list(this.#question(before), signal));
      const known = new Set(this.shown.map((movie) => movie.movie_id));
      const fresh = answer.movies.filter((movie) => !known.has(movie.movie_id));
      this.#show([...this.shown, ...fresh], answer.more);
      if (fresh.length) this.cards.get(fresh[0].movie_id)?.focus();
      say(`${counted(fresh.length, "more movie")}`);
    } catch (error) {
      if (!dropped(error)) notice(inWords(error));
    }
    this.more.disabled = false;
  }

  /** @param {Suggestion[]} movies @param {boolean} more */
  #show(movies, more) {
    const order = this.#withPinned(movies).map((movie) => {
      const found = this.cards.get(movie.movie_id);
      if (found) found.update(movie);
      return { id: movie.movie_id, card: found ?? card(movie, this.page, (one) => this.#hide(one)) };
    });
    this.shown = movies;
    this.cards = new Map(order.map(({ id, card }) => [id, card]));
    this.#place(order.map(({ card }) => card.element));
    this.more.hidden = !more || movies.length > FURTHEST;
    this.#head(movies);
    this.state.replaceChildren(...(order.length ? [] : [this.#nothing()]));
  }

  /**
   * The movie that is being rated keeps its place until something else is done.
   * @param {Suggestion[]} movies
   * @returns {Suggestion[]}
   */
  #withPinned(movies) {
    const element = document.activeElement?.closest(".card");
    const id = element instanceof HTMLElement ? (element.dataset.movie ?? "") : "";
    const place = element ? [...this.element.children].indexOf(element) : -1;
    const known = this.shown.find((movie) => movie.movie_id === id) ?? this.pinned;
    this.pinned = undefined;
    if (place < 0 || known?.movie_id !== id || this.page.visitor.starsOf(id) === null) return movies;
    this.pinned = known;
    return movies.toSpliced(place, 0, known);
  }

  /**
   * Cards in a new order; those that stay glide there. The one with the focus is not touched, so as to keep it.
   * @param {HTMLElement[]} elements
   */
  #place(elements) {
    const before = new Map([...this.element.children].map((one) => [one, one.getBoundingClientRect()]));
    const focused = elements.find((one) => one.contains(document.activeElement));
    const wanted = new Set(elements);
    for (const one of [...this.element.children]) if (!wanted.has(/** @type {HTMLElement} */ (one))) one.remove();
    let passed = !focused;
    for (const one of elements) {
      if (one === focused) passed = true;
      else if (passed) this.element.append(one);
      else this.element.insertBefore(one, /** @type {Node} */ (focused));
    }
    if (!mayMove() || document.hidden) return;
    for (const one of elements) {
      const from = before.get(one);
      const to = one.getBoundingClientRect();
      if (to.top > innerHeight + 400) continue;
      if (!from) {
        one.animate(
          [
            { opacity: 0, transform: "translateY(12px)" },
            { opacity: 1, transform: "none" },
          ],
          { duration: 280, easing: "ease-out" },
        );
      } else if (from.left !== to.left || from.top !== to.top) {
        const start = `translate(${from.left - to.left}px, ${from.top - to.top}px)`;
        one.animate([{ transform: start }, { transform: "none" }], {
          duration: 380,
          easing: "cubic-bezier(.2, .8, .2, 1)",
        });
      }
    }
  }

  /** @param {Suggestion[]} movies */
  #head(movies) {
    const rated = this.page.visitor.ratings.size;
    const missing = ENOUGH - rated;
    byId("list-heading").textContent = rated ? "For you" : "Start with these";
    byId("list-note").textContent = !rated
      ? "Well known, well liked and all different. Give stars to the ones you have seen."
      : `From ${counted(rated, "rating")}${missing > 0 ? `; ${missing} more and it gets to know you` : " of yours"}.`;
    if (rated && movies.length) {
      say(
        `Your list has changed. First: ${titleOf(movies[0])}, ` +
          `predicted ${value(movies[0].prediction, this.page.scale)} stars.`,
      );
    }
  }

  #nothing() {
    const filtered = this.filters.active;
    return h(
      "div",
      { class: "state" },
      h("h3", { text: filtered ? "Nothing here with these filters" : "You have been through everything" }),
      h("p", {
        text: filtered
          ? "No movie that is left matches both genre and years."
          : "Bring back movies of no interest, or take back stars, and the list goes on.",
      }),
      filtered &&
        h("button", {
          type: "button",
          class: "button",
          text: "Clear the filters",
          onclick: () => {
            this.filters.clear();
            this.element.focus();
          },
        }),
    );
  }

  /** @param {unknown} error */
  #fail(error) {
    const away = error instanceof ApiError && error.code === "unreachable";
    this.element.classList.toggle("waiting", away);
    if (this.cards.size && away) return; // The banner says so; what is shown still holds.
    this.#place([]);
    this.cards.clear();
    this.shown = [];
    this.more.hidden = true;
    this.state.replaceChildren(
      h(
        "div",
        { class: "state" },
        h("h3", { text: away ? "The projector is off" : "This list could not be made" }),
        h("p", {
          text: away ? "The server can\u2019t be reached. The list appears by itself when it is back." : inWords(error),
        }),
        h("button", { type: "button", class: "button", onclick: () => this.refresh() }, icon("retry"), "Try again"),
      ),
    );
  }

  /** @param {import("./format.js").Movie} movie */
  #hide(movie) {
    const element = this.cards.get(movie.movie_id)?.element;
    const next = element?.nextElementSibling ?? element?.previousElementSibling;
    const nextCard = next instanceof HTMLElement ? this.cards.get(next.dataset.movie ?? "") : undefined;
    this.shown = this.shown.filter((one) => one.movie_id !== movie.movie_id);
    this.cards.delete(movie.movie_id);
    if (nextCard) nextCard.focus();
    else this.element.focus();
    this.#place([...this.cards.values()].map((one) => one.element));
    this.page.visitor.hide(movie);
    notice(`${titleOf(movie)} will not be suggested.`, {
      label: "Undo",
      run: () => this.page.visitor.unhide(movie.movie_id),
    });
  }
}
