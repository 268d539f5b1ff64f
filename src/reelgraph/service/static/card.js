/** The card of one recommendation: poster, predicted stars, stars for rating, and buttons. */

import { h, icon } from "./dom.js";
import { forecast } from "./forecast.js";
import { exact, factsOf, titleOf, value } from "./format.js";
import { poster } from "./poster.js";
import { rating } from "./rating.js";

/** @typedef {import("./api.js").Suggestion} Suggestion */
/** @typedef {import("./format.js").Movie} Movie */
/** @typedef {import("./format.js").Scale} Scale */
/** @typedef {import("./state.js").Visitor} Visitor */
/** @typedef {"why" | "similar"} View */
/**
 * What the parts of the page share: the rating scale, the number of movies, the visitor, and how to open a movie.
 * Without a scale the model has no stars, and visitors like movies.
 * @typedef {{scale: Scale | null, movies: number, visitor: Visitor, open: (movie: Movie, view: View) => void}} Page
 */
/**
 * @typedef {{element: HTMLLIElement, update: (suggestion: Suggestion) => void, refresh: () => void,
 *   focus: () => void}} Card
 */

/** The button that puts a movie on the watchlist. @param {Movie} movie @param {Visitor} visitor @param {string} [words] */
export function watchButton(movie, visitor, words = "") {
  const label = h("span", { text: words });
  const element = h(
    "button",
    { type: "button", class: "quiet want", onclick: () => visitor.toggleWanted(movie.movie_id) },
    icon("want"),
    words && label,
  );
  const update = () => {
    const wanted = visitor.watchlist.has(movie.movie_id);
    const about = `${wanted ? "Take" : "Put"} ${titleOf(movie)} ${wanted ? "off" : "on"} your watchlist`;
    element.setAttribute("aria-pressed", String(wanted));
    element.setAttribute("aria-label", about);
    element.title = wanted ? "On your watchlist" : "Watchlist";
    if (words) label.textContent = wanted ? "On your watchlist" : words;
  };
  update();
  return { element, update };
}

/** The type size of a title on its tile, in hundredths of the tile's width. @param {string} title */
function sizeOf(title) {
  const longest = Math.max(...title.split(/[\s-]+/).map((word) => word.length));
  return Math.max(7, Math.min(19, 140 / longest, Math.sqrt(7200 / title.length)));
}

/** The class of the typeface that a tile's title is set in, by decade. @param {number | null} year */
function eraOf(year) {
  return year === null ? "" : `era-${Math.min(2010, Math.max(1930, Math.floor(year / 10) * 10))}`;
}

/**
 * @param {Suggestion} first
 * @param {Page} page
 * @param {(movie: Movie) => void} hide
 * @returns {Card}
 */
export function card(first, page, hide) {
  const title = titleOf(first);
  const predicted = forecast(page.scale);
  const given = rating(first, page);
  const open = h("button", { type: "button", class: "card-open", text: title, onclick: () => page.open(first, "why") });
  const everyone = h("p", { class: "card-everyone", hidden: true });
  const rated = h("span", { class: "card-rated" });
  const want = watchButton(first, page.visitor);
  const ask = (/** @type {View} */ view, /** @type {string} */ words, /** @type {string} */ about) =>
    h(
      "button",
      { type: "button", class: "quiet", "aria-label": `${about} ${title}`, onclick: () => page.open(first, view) },
      icon(view),
      words,
    );
  const element = h(
    "li",
    { class: "card typed", "data-movie": first.movie_id },
    h("div", { class: "card-art", onpicture: () => element.classList.remove("typed") }, poster(first), rated),
    h("h3", { class: `card-title ${eraOf(first.year)}` }, open),
    h(
      "div",
      { class: "card-body" },
      h("p", { class: "card-facts", text: factsOf(first) }),
      predicted.element,
      everyone,
      given.element,
      h("div", { class: "card-actions" }, ask("why", "Why?", "Why"), ask("similar", "Similar", "Movies similar to"), want.element),
    ),
    h(
      "button",
      {
        type: "button",
        class: "card-hide",
        title: "Not interested",
        "aria-label": `Not interested in ${title}`,
        onclick: () => hide(first),
      },
      icon("hide"),
    ),
  );

  element.style.setProperty("--type", sizeOf(title).toFixed(1));

  const refresh = () => {
    want.update();
    const own = page.visitor.starsOf(first.movie_id);
    element.classList.toggle("is-rated", own !== null);
    rated.replaceChildren(...(own === null ? [] : [icon("check"), page.scale ? `Your rating: ${exact(own)}` : "Liked"]));
    given.update();
  };
  const update = (/** @type {Suggestion} */ suggestion) => {
    predicted.update(suggestion.prediction, suggestion.interval);
    const { members } = suggestion;
    everyone.hidden = !members || !page.scale;
    const { scale } = page;
    everyone.textContent = (members ?? [])
      .map(({ name, prediction }) => (prediction === null || !scale ? name : `${name} ${value(prediction, scale)}`))
      .join(" \u00b7 ");
    refresh();
  };
  update(first);
  return { element, update, refresh, focus: () => open.focus({ preventScroll: true }) };
}
