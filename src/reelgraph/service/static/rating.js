/** The control for a visitor’s opinion of a movie: stars, or a like where the model has no stars. */

import { h, icon } from "./dom.js";
import { titleOf } from "./format.js";
import { stars } from "./stars.js";

/** @typedef {import("./format.js").Movie} Movie */
/** @typedef {import("./format.js").Scale} Scale */
/** @typedef {import("./state.js").Visitor} Visitor */

/** A button that likes a movie and takes the like back. @param {{movie: Movie, visitor: Visitor}} what */
function like({ movie, visitor }) {
  const words = h("span");
  const input = h(
    "button",
    {
      type: "button",
      class: "like",
      "aria-label": `Like ${titleOf(movie)}`,
      onclick: () => {
        if (visitor.starsOf(movie.movie_id) === null) visitor.rate(movie, 1);
        else visitor.remove(movie.movie_id);
        update();
      },
    },
    icon("like"),
    words,
  );
  const update = () => {
    const liked = visitor.starsOf(movie.movie_id) !== null;
    input.setAttribute("aria-pressed", String(liked));
    words.textContent = liked ? "Liked" : "Like";
  };
  update();
  return { element: h("span", { class: "given", "data-movie": movie.movie_id }, input), input, update };
}

/**
 * The control for one movie, bound to the visitor’s ratings.
 * @param {Movie} movie
 * @param {{scale: Scale | null, visitor: Visitor}} page
 * @returns {{element: HTMLElement, input: HTMLElement, update: () => void}}
 */
export function rating(movie, { scale, visitor }) {
  return scale === null ? like({ movie, visitor }) : stars({ movie, scale, visitor });
}
