/** The illustration at the top: three rated movies, and ribbons from them to a recommendation. */

import { h, icon, s } from "./dom.js";
import { poster } from "./poster.js";
import { shownStars } from "./stars.js";

/** Made-up movies, because the picture is drawn before the catalogue is loaded. */
const GIVEN = [
  { genres: ["Sci-Fi"], share: 1, pull: "+0.4", up: true },
  { genres: ["Comedy"], share: 0.4, pull: "\u22120.2", up: false },
  { genres: ["Adventure"], share: 0.9, pull: "+0.3", up: true },
];

/** @param {string} id @param {string[]} genres */
function picturePoster(id, genres) {
  return poster({ movie_id: id, title: "", year: null, genres }, "small");
}

/** @param {HTMLElement} box @param {boolean} [starred] whether visitors give stars, or else likes */
export function drawHero(box, starred = true) {
  const rows = GIVEN.map(({ genres, share }, place) =>
    h(
      "div",
      { class: `hero-given at-${place}` },
      picturePoster(`hero-${place}`, genres),
      starred ? shownStars(share) : h("span", { class: "hero-like" }, icon("like")),
    ),
  );
  const ribbons = s(
    "svg",
    { class: "hero-ribbons", viewBox: "0 0 190 226", preserveAspectRatio: "none" },
    ...GIVEN.map(({ up }, place) =>
      s("path", {
        class: `ribbon ${up ? "up" : "down"}`,
        "stroke-width": up ? 9 - place : 5,
        d: `M0 ${39 + 74 * place}C110 ${39 + 74 * place} 80 ${103 + 10 * place} 190 ${103 + 10 * place}`,
      }),
    ),
  );
  const numbers = GIVEN.map(({ pull, up }, place) =>
    h("span", { class: `hero-pull at-${place} ${up ? "up" : "down"}`, text: pull }),
  );
  const next = h(
    "div",
    { class: "hero-next" },
    picturePoster("hero-next", ["Fantasy", "Sci-Fi"]),
    starred && h("b", {}, "4.4 ", h("span", { text: "\u2605" })),
  );
  box.replaceChildren(...rows, ribbons, ...numbers, next);
}
