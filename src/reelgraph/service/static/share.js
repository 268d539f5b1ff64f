/** Links that carry ratings in their fragment, which browsers do not send to the server. */

import { dropped, Latest, ROOT } from "./api.js";
import { byId, h, icon } from "./dom.js";
import { counted, fits, given as kind } from "./format.js";
import { notice } from "./notices.js";
import { MOST_RATINGS } from "./state.js";

const NAME = "ratings=";

/** `ratings=260:4.5~31:3`. @param {Record<string, number>} ratings */
export function toFragment(ratings) {
  return (
    NAME +
    Object.entries(ratings)
      .map(([id, stars]) => `${encodeURIComponent(id).replaceAll("~", "%7E")}:${stars}`)
      .join("~")
  );
}

/**
 * Reads the ratings of a fragment; skips what is malformed or outside the scale.
 * @param {string} fragment with or without "#"
 * @param {import("./format.js").Scale | null} scale
 * @returns {Map<string, number>}
 */
export function fromFragment(fragment, scale) {
  const found = new Map();
  const text = fragment.replace(/^#/, "");
  for (const part of text.startsWith(NAME) ? text.slice(NAME.length).split("~") : []) {
    const end = part.lastIndexOf(":");
    const stars = Number(part.slice(end + 1));
    if (
      end < 1 ||
      part.length === end + 1 ||
      !fits(stars, scale) ||
      found.size >= MOST_RATINGS
    )
      continue;
    try {
      found.set(decodeURIComponent(part.slice(0, end)), stars);
    } catch {
      // A broken escape sequence; the rest of the link may be fine.
    }
  }
  return found;
}

/** Copies a text; a field that holds it helps without a secure context, which the clipboard API needs.
 * @param {string} text @param {HTMLInputElement} [field] */
export async function copyText(text, field) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const own = field ?? h("input", { value: text, class: "sr", "aria-hidden": "true" });
    if (!field) (document.querySelector("dialog[open]") ?? document.body).append(own);
    own.select();
    document.execCommand("copy");
    if (!field) own.remove();
  }
}

export class Share {
  /** @param {import("./api.js").Api} api @param {import("./card.js").Page} page */
  constructor(api, page) {
    this.api = api;
    this.page = page;
    /** @type {HTMLDialogElement} */
    this.dialog = byId("share-sheet");
    this.latest = new Latest();
    for (const button of document.querySelectorAll("[data-share]"))
      button.addEventListener("click", () => this.#open());
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    // Not location.hash, which an earlier link's restore() may already have cleared.
    addEventListener("hashchange", (event) => this.restore(new URL(event.newURL).hash));
    api.addEventListener("up", () => this.restore());
  }

  #open() {
    const ratings = this.page.visitor.toJson(this.page.scale);
    const number = Object.keys(ratings).length;
    const link = `${ROOT}#${toFragment(ratings)}`;
    const field = h("input", {
      id: "share-link",
      readonly: true,
      value: link,
      "aria-label": `Link with your ${kind(this.page.scale)}s`,
      onfocus: () => field.select(),
    });
    const said = h("span", { class: "copied", role: "status" });
    const copy = async () => {
      await copyText(link, field);
      said.replaceChildren(icon("check"), "Copied");
    };
    this.dialog.replaceChildren(
      h(
        "div",
        { class: "sheet-inside" },
        h(
          "div",
          { class: "sheet-tools" },
          h(
            "button",
            { type: "button", class: "round", "aria-label": "Close", onclick: () => this.dialog.close() },
            icon("close"),
          ),
        ),
        h("h2", { id: "share-title", text: `Share your ${kind(this.page.scale)}s` }),
        h("p", {
          text:
            `This link contains your ${counted(number, kind(this.page.scale))}. Open it on another device, save it, or send it ` +
            "to a friend. Nothing is uploaded: browsers do not send this part of a link to the server.",
        }),
        h(
          "div",
          { class: "share-row" },
          field,
          h("button", { type: "button", class: "button", onclick: copy }, icon("copy"), "Copy link"),
        ),
        said,
      ),
    );
    this.#show();
  }

  #show() {
    if (!this.dialog.open) this.dialog.showModal();
  }

  /** Imports the ratings of the address; asks first if the visitor has ratings already. */
  async restore(fragment = location.hash) {
    const given = fromFragment(fragment, this.page.scale);
    if (!given.size) return;
    let movies;
    try {
      const found = await this.latest.run((signal) => this.api.movies([...given.keys()], signal));
      const known = new Map(found.map((movie) => [movie.movie_id, movie]));
      movies = [...given.keys()].flatMap((id) => known.get(id) ?? []);
    } catch (error) {
      if (dropped(error)) return undefined;
      return notice(`The ${kind(this.page.scale)}s in the link could not be loaded.`, {
        label: "Try again",
        run: () => this.restore(),
      });
    }
    if (location.hash === fragment) history.replaceState(history.state, "", location.href.split("#")[0]);
    const now = Date.now();
    const ratings = movies.map((movie, place) => ({
      movie,
      stars: /** @type {number} */ (given.get(movie.movie_id)),
      at: now - place,
    }));
    const { visitor } = this.page;
    const missing = given.size - ratings.length;
    if (!ratings.length) return notice("None of the movies in the link are in this catalogue.");
    if (ratings.every(({ movie, stars }) => visitor.starsOf(movie.movie_id) === stars)) return undefined;
    if (visitor.ratings.size) return this.#choose(ratings);
    visitor.replace(ratings);
    const absent = missing
      ? ` ${counted(missing, "movie")} in the link ${missing === 1 ? "is" : "are"} not in this catalogue.`
      : "";
    return notice(`${counted(ratings.length, kind(this.page.scale))} imported from the link.${absent}`);
  }

  /** Asks which ratings to keep: the link's, the visitor's, or both. @param {import("./state.js").Rated[]} ratings */
  #choose(ratings) {
    const own = [...this.page.visitor.ratings.values()];
    const choice = (/** @type {string} */ text, /** @type {import("./state.js").Rated[] | null} */ chosen, kind = "") =>
      h("button", {
        type: "button",
        class: `button ${kind}`,
        text,
        onclick: () => {
          if (chosen) this.page.visitor.replace(chosen);
          this.dialog.close();
        },
      });
    this.dialog.replaceChildren(
      h(
        "div",
        { class: "sheet-inside" },
        h("h2", { id: "share-title", text: `This link contains ${counted(ratings.length, kind(this.page.scale))}` }),
        h("p", { text: `You already have ${counted(own.length, kind(this.page.scale))} in this browser.` }),
        h(
          "div",
          { class: "share-row" },
          choice("Keep mine", null),
          choice("Add to mine", [...ratings, ...own], "plain"),
          choice("Replace mine", ratings, "plain"),
        ),
      ),
    );
    this.#show();
  }
}
