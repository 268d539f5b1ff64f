/** The card of one recommendation: poster, predicted stars, stars for rating, and buttons. */

import { h, icon } from "./dom.js";
import { forecast } from "./forecast.js";
import { exact, factsOf, titleOf } from "./format.js";
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
  const rated = h("span", { class: "card-rated" });
  const ask = (/** @type {View} */ view, /** @type {string} */ words, /** @type {string} */ about) =>
    h(
      "button",
      { type: "button", class: "quiet", "aria-label": `${about} ${title}`, onclick: () => page.open(first, view) },
      icon(view),
      words,
    );
  const element = h(
    "li",
    { class: "card", "data-movie": first.movie_id },
    h("div", { class: "card-art" }, poster(first), rated),
    h(
      "div",
      { class: "card-body" },
      h("h3", { class: "card-title" }, open),
      h("p", { class: "card-facts", text: factsOf(first) }),
      predicted.element,
      given.element,
      h("div", { class: "card-actions" }, ask("why", "Why?", "Why"), ask("similar", "Similar", "Movies similar to")),
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

  const refresh = () => {
    const own = page.visitor.starsOf(first.movie_id);
    element.classList.toggle("is-rated", own !== null);
    rated.replaceChildren(...(own === null ? [] : [icon("check"), page.scale ? `Your rating: ${exact(own)}` : "Liked"]));
    given.update();
  };
  const update = (/** @type {Suggestion} */ suggestion) => {
    predicted.update(suggestion.prediction, suggestion.interval);
    refresh();
  };
  update(first);
  return { element, update, refresh, focus: () => open.focus({ preventScroll: true }) };
}
