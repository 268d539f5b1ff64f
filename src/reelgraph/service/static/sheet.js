/** The dialog about one movie: facts, stars for rating, the explanation, and similar movies. */

import { ApiError, calmly, dropped, inWords, Latest, ROOT } from "./api.js";
import { watchButton } from "./card.js";
import { byId, h, icon } from "./dom.js";
import { forecast } from "./forecast.js";
import { counted, factsOf, titleOf, titlesOf, value } from "./format.js";
import { notice } from "./notices.js";
import { poster } from "./poster.js";
import { rating } from "./rating.js";
import { copyText } from "./share.js";
import { movieOf } from "./state.js";
import { why, whyListed } from "./why.js";

/** @typedef {import("./format.js").Movie} Movie */
/** @typedef {import("./card.js").View} View */

const HOME_TITLE = document.title;
const OWN = `${ROOT}movie/`;

/** The address of a movie. @param {Movie} movie */
function addressOf(movie) {
  return OWN + encodeURIComponent(movie.movie_id);
}

export class Sheet {
  /** @param {import("./api.js").Api} api @param {import("./card.js").Page} page */
  constructor(api, page) {
    this.api = api;
    this.page = page;
    this.latest = new Latest();
    /** @type {HTMLDialogElement} */
    this.dialog = byId("sheet");
    /** The movie on show. @type {{movie: Movie, view: View, depth: number} | null} */
    this.here = null;
    /** @type {HTMLElement | null} */
    this.opener = null;
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    this.dialog.addEventListener("close", () => {
      this.latest.drop();
      this.here = null;
      document.title = HOME_TITLE;
      if (history.state?.depth) history.go(-history.state.depth); // back to the list, unless that closed the dialog
      // The card that opened the dialog may be gone from the list.
      const lost = document.activeElement === document.body;
      if (lost && this.opener && !this.opener.isConnected) byId("list").focus({ preventScroll: true });
      this.dialog.replaceChildren();
    });
    this.reload = calmly(() => this.dialog.open && this.#load(), 150);
    addEventListener("popstate", () => this.#follow());
    page.visitor.addEventListener("change", () => this.#changed());
    api.addEventListener("up", () => this.dialog.open && this.#load());
  }

  /** Shows a movie under its own address. @param {Movie} movie @param {View} view */
  open(movie, view) {
    if (!this.dialog.open) this.opener = /** @type {HTMLElement} */ (document.activeElement);
    const depth = (history.state?.depth ?? 0) + 1; // how many movies are open over the list
    history.pushState({ movie: movieOf(movie), view, depth }, "", addressOf(movie));
    this.#follow();
  }

  /** Opens the movie of the page's address; the list is below it in the history. */
  async restore() {
    if (!location.href.startsWith(OWN)) return;
    if (history.state?.depth) return this.#follow();
    const id = decodeURIComponent(location.pathname.slice(new URL(OWN).pathname.length));
    history.replaceState(null, "", ROOT);
    try {
      this.open(await this.api.movie(id), "why");
    } catch (error) {
      notice(inWords(error));
    }
  }

  /** Shows what the history says: a movie, or the list. */
  #follow() {
    const { movie, view, depth } = history.state ?? {};
    if (!depth) return this.dialog.close();
    this.here = { movie, view, depth };
    this.#build();
    if (!this.dialog.open) this.dialog.showModal();
    this.dialog.scrollTop = 0;
    byId("sheet-title").focus({ preventScroll: true });
  }

  get #here() {
    return /** @type {{movie: Movie, view: View, depth: number}} */ (this.here);
  }

  #build() {
    const { movie, view, depth } = this.#here;
    const { title, others } = titlesOf(movie);
    document.title = `${title}${movie.year === null ? "" : ` (${movie.year})`}: reelgraph`;
    this.want = watchButton(movie, this.page.visitor, "Watchlist");
    this.links = h("span", { class: "sheet-links" });
    this.given = rating(movie, this.page);
    this.predicted = forecast(this.page.scale);
    this.predicted.element.hidden = true;
    this.facts = h("p", { class: "sheet-mean" });
    this.body = h("div", {
      class: "sheet-body",
      role: "tabpanel",
      id: "sheet-body",
      tabindex: 0,
      "aria-labelledby": `tab-${view}`,
    });
    const tab = (/** @type {View} */ name, /** @type {string} */ words) =>
      h(
        "button",
        {
          type: "button",
          role: "tab",
          id: `tab-${name}`,
          class: "tab",
          "aria-selected": String(name === view),
          "aria-controls": "sheet-body",
          tabindex: name === view ? 0 : -1,
          onclick: () => this.#turn(name),
          onkeydown: (/** @type {KeyboardEvent} */ event) => this.#arrow(event, name),
        },
        icon(name),
        words,
      );
    const back =
      depth > 1 &&
      h(
        "button",
        { type: "button", class: "round", "aria-label": "Back to the previous movie", onclick: () => history.back() },
        icon("undo"),
      );
    this.dialog.setAttribute("aria-labelledby", "sheet-title");
    this.dialog.replaceChildren(
      h(
        "div",
        { class: "sheet-inside" },
        h(
          "div",
          { class: "sheet-tools" },
          back,
          h(
            "button",
            {
              type: "button",
              class: "round",
              title: "Copy the link to this movie",
              "aria-label": "Copy the link to this movie",
              onclick: () => copyText(addressOf(movie)).then(() => notice("Link copied.")),
            },
            icon("share"),
          ),
          h(
            "button",
            { type: "button", class: "round", "aria-label": "Close", onclick: () => this.dialog.close() },
            icon("close"),
          ),
        ),
        h(
          "header",
          { class: "sheet-head" },
          poster(movie),
          h(
            "div",
            {},
            h("h2", { id: "sheet-title", tabindex: -1, text: title }),
            others.length > 0 && h("p", { class: "sheet-others", text: others.join(" · ") }),
            h("p", { class: "sheet-facts", text: factsOf(movie, 6) }),
            this.facts,
            this.predicted.element,
            this.given.element,
            h("p", { class: "sheet-more" }, this.want.element, this.links),
          ),
        ),
        h(
          "div",
          { class: "tabs", role: "tablist", "aria-label": "About this movie" },
          tab("why", "Why"),
          tab("similar", "Similar movies"),
        ),
        this.body,
      ),
    );
    this.#load();
  }

  /** @param {View} view */
  #turn(view) {
    this.#here.view = view;
    history.replaceState({ ...history.state, view }, "");
    for (const name of ["why", "similar"]) {
      const tab = byId(`tab-${name}`);
      tab.setAttribute("aria-selected", String(name === view));
      tab.tabIndex = name === view ? 0 : -1;
    }
    this.body?.setAttribute("aria-labelledby", `tab-${view}`);
    this.#load();
  }

  /** @param {KeyboardEvent} event @param {View} name */
  #arrow(event, name) {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const other = name === "why" ? "similar" : "why";
    this.#turn(other);
    byId(`tab-${other}`).focus();
  }

  #changed() {
    if (!this.dialog.open) return;
    this.given?.update();
    this.want?.update();
    for (const each of this.likes ?? []) each.update();
    if (this.#here.view === "why") this.reload();
  }

  async #load() {
    const { movie, view } = this.#here;
    const body = /** @type {HTMLElement} */ (this.body);
    body.setAttribute("aria-busy", "true");
    if (body.dataset.view !== view) body.replaceChildren(h("div", { class: "skeleton tall" }));
    body.dataset.view = view;
    try {
      await this.latest.run(async (signal) => {
        const found = view === "why" ? this.#reasons(movie, signal) : this.#similar(movie, signal);
        const facts = this.api.movie(movie.movie_id, signal).then((answer) => this.#tell(answer));
        facts.catch(() => {}); // Reported below, unless the reasons have failed before.
        body.replaceChildren(...(await found));
        await facts;
      });
    } catch (error) {
      if (dropped(error)) return;
      const none = view === "why" && error instanceof ApiError && error.code === "invalid";
      body.replaceChildren(
        h("p", { class: "hint", text: none ? "This kind of model has no explanations." : inWords(error) }),
      );
    }
    body.removeAttribute("aria-busy");
  }

  /** @param {import("./api.js").MovieFacts} found */
  #tell({ ratings, mean, imdb_id: imdb, tmdb_id: tmdb }) {
    const out = (/** @type {string} */ name, /** @type {string} */ href) =>
      h("a", { class: "quiet", href, target: "_blank", rel: "noopener noreferrer" }, name, icon("out"));
    this.links?.replaceChildren(
      ...[
        imdb && out("IMDb", `https://www.imdb.com/title/tt${imdb.padStart(7, "0")}/`),
        tmdb && out("TMDB", `https://www.themoviedb.org/movie/${tmdb}`),
      ].filter((link) => link instanceof Node),
    );
    const { scale } = this.page;
    const average = mean === null || !scale ? "No ratings yet" : `${value(mean, scale)} on average, `;
    /** @type {HTMLElement} */ (this.facts).textContent = scale
      ? average + (mean === null ? "" : counted(ratings, "rating"))
      : `Liked or viewed by ${counted(ratings, "user")}`;
  }

  /** @param {Movie} movie @param {AbortSignal} signal @returns {Promise<Node[]>} */
  async #reasons(movie, signal) {
    const found = await this.api.explain(movie.movie_id, this.page.visitor.toJson(this.page.scale), signal);
    const { scale } = this.page;
    if (scale === null || found.prediction === null) return [whyListed(found)];
    this.predicted?.update(Math.min(scale.high, Math.max(scale.low, found.prediction)), found.interval);
    if (this.predicted) this.predicted.element.hidden = false;
    return [why(found, found.prediction, scale)];
  }

  /** @param {Movie} movie @param {AbortSignal} signal @returns {Promise<Node[]>} */
  async #similar(movie, signal) {
    const { movies } = await this.api.similar(movie.movie_id, signal);
    this.likes = movies.map((other) => rating(other, this.page));
    const tiles = movies.map((other, place) =>
      h(
        "li",
        { class: "tile" },
        h("div", { class: "tile-art" }, poster(other, "small")),
        h(
          "div",
          { class: "tile-body" },
          h("button", {
            type: "button",
            class: "tile-open",
            text: titleOf(other),
            onclick: () => this.open(other, "similar"),
          }),
          h("p", { class: "card-facts", text: factsOf(other) }),
          this.likes?.[place].element,
        ),
      ),
    );
    return [
      tiles.length ? h("ul", { class: "tiles" }, ...tiles) : h("p", { class: "hint", text: "No similar movies." }),
    ];
  }
}
