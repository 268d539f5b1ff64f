/** The list of recommendations: reloads after every change, animates the new order, and loads more on demand. */

import { ENOUGH } from "./asking.js";
import { ApiError, calmly, dropped, inWords, Latest } from "./api.js";
import { card } from "./card.js";
import { byId, h, icon, mayMove } from "./dom.js";
import { counted, given, titleOf, value } from "./format.js";
import { notice, say } from "./notices.js";

/** @typedef {import("./api.js").Suggestion} Suggestion */
/** @typedef {import("./card.js").Card} Card */

const LENGTH = 24;
const MAX_OFFSET = 1000; // the largest offset the server accepts

export class List {
  /**
   * @param {import("./api.js").Api} api
   * @param {import("./card.js").Page} page
   * @param {import("./filters.js").Filters} filters
   * @param {import("./together.js").Together} together
   * @param {(ids: string[]) => void} onunknown called with the rated movies that the model does not know
   */
  constructor(api, page, filters, together, onunknown) {
    this.together = together;
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
    const renew = calmly(() => this.#renew(), 150);
    this.reason = ""; // for the order of the list
    this.due = false; // whether a change still waits for its request
    this.refresh = () => {
      this.due = true;
      this.element.setAttribute("aria-busy", "true"); // until the new list is there
      renew();
    };
    this.more.addEventListener("click", () => this.#extend());
    filters.addEventListener("change", () => this.refresh());
    together.addEventListener("change", () => this.refresh());
    page.visitor.addEventListener("change", (event) => {
      for (const each of this.cards.values()) each.refresh();
      const { kind } = /** @type {CustomEvent} */ (event).detail;
      if (!["want", "skip"].includes(kind) || filters.onlyWatchlist) this.refresh();
    });
    api.addEventListener("up", () => this.refresh());
  }

  /** @param {number} offset @returns {import("./api.js").ListRequest} */
  #request(offset) {
    const { visitor } = this.page;
    return {
      ratings: visitor.toJson(this.page.scale),
      k: Math.min(LENGTH, this.page.movies),
      exclude: visitor.excluded(),
      ...(this.filters.onlyWatchlist && !this.together.others.length ? { only: [...visitor.watchlist] } : {}),
      offset,
      ...this.filters.value,
      ...this.together.toJson(),
    };
  }

  /** Whether the list asks for first ratings: nothing is rated, and no certain list is wished for. */
  get #asks() {
    const { active, value } = this.filters;
    return !this.page.visitor.ratings.size && !active && !value.order && !this.together.others.length;
  }

  /** @param {number} offset @param {AbortSignal} signal */
  async #page(offset, signal) {
    if (!this.#asks) return this.api.list(this.#request(offset), signal);
    const { movies: most, visitor } = this.page;
    const shown = this.shown.slice(0, offset).map((movie) => movie.movie_id);
    const body = { ratings: {}, k: Math.min(LENGTH, most), exclude: visitor.unanswerable(shown) };
    const { movies } = await this.api.questions(body, signal);
    return { movies, more: movies.length === LENGTH, unknown: [], order_reason: "" };
  }

  async #renew() {
    this.due = false;
    const slow = setTimeout(() => this.element.classList.add("waiting"), 200);
    this.more.disabled = false; // This request cancels one for more movies.
    try {
      const answer = await this.latest.run((signal) => this.#page(0, signal));
      this.reason = answer.order_reason;
      this.#show(answer.movies, answer.more);
      this.onunknown(answer.unknown);
      this.element.classList.remove("waiting");
    } catch (error) {
      if (dropped(error)) return;
      const refused = error instanceof ApiError && error.code !== "unreachable";
      if (!refused || !this.together.refuse(error)) this.#fail(error);
    } finally {
      clearTimeout(slow);
    }
    if (!this.due) this.element.removeAttribute("aria-busy");
  }

  async #extend() {
    if (this.element.hasAttribute("aria-busy")) return; // A new list is on its way.
    const before = this.shown.length;
    this.more.disabled = true;
    try {
      const answer = await this.latest.run((signal) => this.#page(before, signal));
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
      const kept = this.cards.get(movie.movie_id);
      if (kept) kept.update(movie);
      return { id: movie.movie_id, card: kept ?? card(movie, this.page, (hidden) => this.#hide(hidden)) };
    });
    this.shown = movies;
    this.cards = new Map(order.map(({ id, card }) => [id, card]));
    this.#place(order.map(({ card }) => card.element));
    this.more.hidden = !more || movies.length > MAX_OFFSET;
    this.#head(movies);
    this.state.replaceChildren(...(order.length ? [] : [this.#nothing()]));
  }

  /**
   * A movie that has just been rated keeps its place while its card has the focus.
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
   * Puts the cards in a new order and animates the moves. The focused card is never moved in the DOM, or it would lose
   * the focus.
   * @param {HTMLElement[]} elements
   */
  #place(elements) {
    const before = new Map([...this.element.children].map((child) => [child, child.getBoundingClientRect()]));
    const focused = elements.find((element) => element.contains(document.activeElement));
    const wanted = new Set(elements);
    for (const child of [...this.element.children]) if (!wanted.has(/** @type {HTMLElement} */ (child))) child.remove();
    let passed = !focused;
    for (const element of elements) {
      if (element === focused) passed = true;
      else if (passed) this.element.append(element);
      else this.element.insertBefore(element, /** @type {Node} */ (focused));
    }
    if (!mayMove() || document.hidden) return;
    for (const element of elements) {
      const from = before.get(element);
      const to = element.getBoundingClientRect();
      if (to.top > innerHeight + 400) continue;
      if (!from) {
        element.animate(
          [
            { opacity: 0, transform: "translateY(12px)" },
            { opacity: 1, transform: "none" },
          ],
          { duration: 280, easing: "ease-out" },
        );
      } else if (from.left !== to.left || from.top !== to.top) {
        const start = `translate(${from.left - to.left}px, ${from.top - to.top}px)`;
        element.animate([{ transform: start }, { transform: "none" }], {
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
    const others = this.together.others.length;
    byId("list-heading").textContent = others ? `For ${others + (rated ? 1 : 0)} people` : rated ? "For you" : "Start with these";
    const { scale } = this.page;
    const basis = `Based on your ${rated === 1 ? given(scale) : counted(rated, given(scale))}.`;
    const more = missing > 0 ? ` ${scale ? "Rate" : "Like"} ${missing} more for better recommendations.` : "";
    const start = this.#asks
      ? `What you think of these says most about your taste. ${scale ? "Rate the ones you have seen" : "Like the ones you enjoyed"}.`
      : "Nothing rated yet: a mix of popular movies.";
    byId("list-note").textContent = others ? this.reason : rated ? `${basis} ${this.reason}${more}` : this.filters.value.order ? this.reason : start;
    if (rated && movies.length) {
      const { prediction } = movies[0];
      const stars = scale && prediction !== null ? `, predicted ${value(prediction, scale)} stars` : "";
      say(`List updated. First: ${titleOf(movies[0])}${stars}.`);
    }
  }

  #nothing() {
    const filtered = this.filters.active;
    return h(
      "div",
      { class: "state" },
      h("h3", { text: filtered ? "No movies match these filters" : "No movies left to recommend" }),
      h("p", {
        text: filtered
          ? "Try fewer or other filters."
          : `You have ${this.page.scale ? "rated" : "liked"} or hidden every movie. ` +
            `Remove a ${given(this.page.scale)} or bring back a hidden movie to see more.`,
      }),
      filtered &&
        h("button", {
          type: "button",
          class: "button",
          text: "Clear filters",
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
    if (this.cards.size && away) return; // The banner tells; the list on the page stays valid.
    this.#place([]);
    this.cards.clear();
    this.shown = [];
    this.more.hidden = true;
    this.state.replaceChildren(
      h(
        "div",
        { class: "state" },
        h("h3", { text: away ? "The server is unreachable" : "The list could not be loaded" }),
        h("p", {
          text: away ? "The list will load as soon as the server is back." : inWords(error),
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
    this.shown = this.shown.filter((other) => other.movie_id !== movie.movie_id);
    this.cards.delete(movie.movie_id);
    if (nextCard) nextCard.focus();
    else this.element.focus();
    this.#place([...this.cards.values()].map((each) => each.element));
    this.page.visitor.hide(movie);
    notice(`${titleOf(movie)} will not be recommended again.`, {
      label: "Undo",
      run: () => this.page.visitor.unhide(movie.movie_id),
    });
  }
}
