/** Imports the films that a visitor has exported from another service. */

import { dropped, inWords, Latest } from "./api.js";
import { byId, h, icon } from "./dom.js";
import { count, counted, given, titleOf } from "./format.js";
import { notice, say } from "./notices.js";

const MOST_SHOWN = 100; // films that were not found

export class Import {
  /** @param {import("./api.js").Api} api @param {import("./card.js").Page} page */
  constructor(api, page) {
    this.api = api;
    this.page = page;
    this.latest = new Latest();
    /** @type {HTMLDialogElement} */
    this.dialog = byId("import-sheet");
    /** @type {HTMLInputElement} */
    this.input = byId("import-file");
    for (const button of document.querySelectorAll("[data-import]"))
      button.addEventListener("click", () => this.input.click());
    this.input.addEventListener("change", () => this.#read(this.input.files?.[0]));
    addEventListener("dragover", (event) => event.preventDefault());
    addEventListener("drop", (event) => {
      event.preventDefault(); // The browser would open the file.
      this.#read(event.dataTransfer?.files[0]);
    });
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    byId("imported-forget").addEventListener("click", () => this.#forget());
    page.visitor.addEventListener("change", () => this.#tell());
    this.#tell();
  }

  /** @param {File | undefined} file */
  async #read(file) {
    if (!file) return;
    this.input.value = ""; // The same file may be chosen again.
    say(`Reading ${file.name}.`);
    try {
      this.#join(await this.latest.run((signal) => this.api.match(file, signal)));
    } catch (error) {
      if (!dropped(error)) notice(`${file.name} could not be imported: ${inWords(error)}`);
    }
  }

  /** @param {import("./api.js").Imported} films */
  #join({ ratings, watched, watchlist, unmatched, movies }) {
    const { visitor } = this.page;
    const before = visitor.ratings.size;
    const now = Date.now();
    const rated = movies.map((movie, place) => ({ movie, stars: ratings[movie.movie_id], at: now - place }));
    const kept = rated.filter(({ movie }) => visitor.starsOf(movie.movie_id) !== null).length;
    visitor.import(rated, watched, watchlist);
    const found = new Set([...watched, ...watchlist]).size;
    const words = [`${count(found)} of ${counted(found + unmatched.length, "film")} found`];
    const added = visitor.ratings.size - before;
    const word = given(this.page.scale);
    words.push(`${counted(added, word)} added${kept ? `, ${counted(kept, "movie")} ${kept === 1 ? "keeps" : "keep"} your own ${word}` : ""}`);
    if (!unmatched.length) return notice(`${words.join(". ")}.`);
    return this.#show(words[0], `${words[1]}.`, unmatched);
  }

  /** @param {string} title @param {string} words @param {import("./api.js").Unmatched[]} unmatched */
  #show(title, words, unmatched) {
    const rest = unmatched.length - MOST_SHOWN;
    const close = () => this.dialog.close();
    this.dialog.replaceChildren(
      h(
        "div",
        { class: "sheet-inside" },
        h(
          "div",
          { class: "sheet-tools" },
          h("button", { type: "button", class: "round", "aria-label": "Close", onclick: close }, icon("close")),
        ),
        h("h2", { id: "import-title", text: title }),
        h("p", { text: words }),
        h("h3", { text: "Not in this catalogue" }),
        h("ul", { class: "unmatched" }, ...unmatched.slice(0, MOST_SHOWN).map((film) => this.#row(film))),
        rest > 0 && h("p", { text: `and ${counted(rest, "more film")}` }),
      ),
    );
    if (!this.dialog.open) this.dialog.showModal();
  }

  /** A film that was not found, with buttons for similar movies. @param {import("./api.js").Unmatched} film */
  #row({ title, year, similar }) {
    const buttons = similar.map((movie) =>
      h("button", {
        type: "button",
        class: "quiet",
        text: `${titleOf(movie)}${movie.year === null ? "" : ` (${movie.year})`}`,
        onclick: () => {
          this.dialog.close();
          this.page.open(movie, "similar");
        },
      }),
    );
    return h(
      "li",
      {},
      h("span", { text: year === null ? title : `${title} (${year})` }),
      buttons.length > 0 && h("span", { class: "unmatched-similar" }, "Similar: ", ...buttons),
    );
  }

  /** Says how many imported films there are besides the rated ones. */
  #tell() {
    const { ratings, watched, watchlist } = this.page.visitor;
    const unrated = [...watched].filter((id) => !ratings.has(id)).length;
    const parts = [];
    if (unrated) parts.push(`${counted(unrated, "watched movie")} from your import will not be recommended.`);
    if (watchlist.size) parts.push(`Your watchlist has ${counted(watchlist.size, "movie")}.`);
    byId("imported").hidden = parts.length === 0;
    byId("imported-words").textContent = parts.join(" ");
    byId("imported-forget").textContent = unrated + watchlist.size === 1 ? "Forget it" : "Forget them";
  }

  #forget() {
    const { visitor } = this.page;
    const before = [[...visitor.watched], [...visitor.watchlist]];
    byId("list").focus({ preventScroll: true });
    visitor.forgetImport();
    notice("Watched movies and watchlist forgotten.", {
      label: "Undo",
      run: () => visitor.import([], before[0], before[1]),
    });
  }
}
