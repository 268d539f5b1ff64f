/** The filters by genre, year and watchlist. */

import { byId, h } from "./dom.js";
import { count } from "./format.js";

/** @typedef {{genre: string | null, year: string | null, order: string | null}} Filter */

/** Dispatches "change" after every change. */
export class Filters extends EventTarget {
  /** @param {import("./state.js").Visitor} visitor */
  constructor(visitor) {
    super();
    this.visitor = visitor;
    /** @type {Filter} */
    this.value = { genre: null, year: null, order: null };
    this.genres = byId("genres");
    this.years = byId("years");
    this.from = byId("year-from");
    this.to = byId("year-to");
    this.custom = byId("years-custom");
    this.watchlist = byId("watchlist-only");
    this.watchlist.firstChild.addEventListener("change", () => this.dispatchEvent(new Event("change")));
    visitor.addEventListener("change", () => this.#reveal());
    this.years.addEventListener("change", () => this.#yearsChosen());
    this.order = byId("order");
    this.order.addEventListener("change", () => this.#set({ order: this.order.value || null }));
    this.from.addEventListener("change", () => this.#ownYears());
    this.to.addEventListener("change", () => this.#ownYears());
  }

  get active() {
    return this.value.genre !== null || this.value.year !== null || this.onlyWatchlist;
  }

  get onlyWatchlist() {
    return this.watchlist.firstChild.checked;
  }

  /** Offers the genres and years of the catalogue. @param {import("./api.js").Catalogue} catalogue */
  offer(catalogue) {
    const common = catalogue.genres.toSorted((a, b) => b.movies - a.movies);
    const all = [{ name: "", movies: catalogue.movies }, ...common];
    this.genres.replaceChildren(
      ...all.map(({ name, movies }) => {
        const label = h(
          "label",
          { class: "chip", title: `${count(movies)} movies` },
          h("input", {
            type: "radio",
            name: "genre",
            value: name,
            class: "sr",
            onchange: () => this.#set({ genre: name || null }),
          }),
          h("span", { text: name || "All genres" }),
        );
        /** @type {HTMLInputElement} */ (label.firstChild).checked = (this.value.genre ?? "") === name;
        return label;
      }),
    );
    this.#reveal();
    byId("filters").hidden = false;
    this.genres.hidden = !common.length;
    byId("years-label").hidden = !catalogue.years;
    if (!catalogue.years) return;
    const [first, last] = catalogue.years;
    const decades = [];
    for (let start = Math.floor(last / 10) * 10; start + 9 >= first; start -= 10) decades.push(start);
    this.years.replaceChildren(
      h("option", { value: "", text: "All years" }),
      ...decades.map((start) => h("option", { value: `${start}-${start + 9}`, text: `${start}s` })),
      h("option", { value: "own", text: "From \u2026 to \u2026" }),
    );
    for (const [field, year] of [
      [this.from, first],
      [this.to, last],
    ]) {
      field.min = String(first);
      field.max = String(last);
      field.placeholder = String(year);
    }
    this.years.value = this.value.year ?? "";
    if (this.years.selectedIndex < 0) this.years.value = "own";
  }

  clear() {
    this.genres.querySelector("input").checked = true;
    this.years.value = "";
    this.custom.hidden = true;
    const changed = this.onlyWatchlist;
    this.watchlist.firstChild.checked = false;
    this.#set({ genre: null, year: null }, changed);
  }

  /** Offers the watchlist where there is one. */
  #reveal() {
    const wanted = this.visitor.watchlist.size > 0;
    if (!wanted) this.watchlist.firstChild.checked = false;
    this.watchlist.hidden = !wanted;
  }

  #yearsChosen() {
    const own = this.years.value === "own";
    this.custom.hidden = !own;
    if (own) {
      this.from.focus();
      this.#ownYears();
    } else this.#set({ year: this.years.value || null });
  }

  /** A missing or invalid year leaves that end open. */
  #ownYears() {
    const ends = [this.from, this.to].map((field) => (/^\d{4}$/.test(field.value.trim()) ? field.value.trim() : ""));
    if (ends[0] && ends[1] && ends[0] > ends[1]) ends.reverse();
    this.#set({ year: ends[0] || ends[1] ? ends.join("-") : null });
  }

  /** @param {Partial<Filter>} change @param {boolean} [changed] whether the watchlist filter has changed */
  #set(change, changed = false) {
    const value = { ...this.value, ...change };
    if (!changed && Object.entries(value).every(([name, part]) => part === this.value[/** @type {keyof Filter} */ (name)]))
      return;
    this.value = value;
    this.dispatchEvent(new Event("change"));
  }
}
