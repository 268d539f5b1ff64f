/** The explanation of a prediction: one ribbon per rating, as wide as its contribution. */

import { h, s } from "./dom.js";
import { counted, exact, signed, spoken, titleOf, value } from "./format.js";
import { initialsOf } from "./poster.js";

/** @typedef {import("./format.js").Movie} Movie */
/** @typedef {import("./format.js").Scale} Scale */
/** @typedef {{movie: Movie, rating: number | null, contribution: number}} Reason */
/** @typedef {{target: Movie, prediction: number | null, mean: number, user: number, movie: number, because: Reason[],
 *   interval: [number, number] | null,
 *   ranking: {score: number, movie: number, because: Reason[]} | null}} Explanation */
/** @typedef {{label: string, detail: string, pull: number}} Pull */

const MAX_RIBBONS = 8; // further ratings share one ribbon
const ROW = 38;
const TOP = 14;

/** The largest contributions and the sum of the others, positive ones first. @param {Reason[]} because @returns {Pull[]} */
export function pullsOf(because) {
  const relevant = because.filter(({ contribution }) => Math.abs(contribution) >= 0.005);
  const own = relevant.length > MAX_RIBBONS ? relevant.slice(0, MAX_RIBBONS) : relevant;
  const rest = because.slice(own.length); // sorted by size
  const pulls = own.map(({ movie, rating, contribution }) => ({
    label: titleOf(movie),
    detail: rating === null ? "" : `${exact(rating)}\u2009\u2605`,
    pull: contribution,
  }));
  if (rest.length) {
    pulls.push({
      label: counted(rest.length, (own.length ? "other " : "") + (rest[0].rating === null ? "movie" : "rating")),
      detail: "",
      pull: rest.reduce((sum, reason) => sum + reason.contribution, 0),
    });
  }
  return pulls.sort((a, b) => b.pull - a.pull);
}

/** Shortens a title to a width in pixels. @param {string} text @param {number} room */
function cut(text, room) {
  const pen = /** @type {CanvasRenderingContext2D} */ (document.createElement("canvas").getContext("2d"));
  pen.font = `600 13.5px ${getComputedStyle(document.body).fontFamily}`;
  if (pen.measureText(text).width <= room) return text;
  let end = text.length;
  while (end > 1 && pen.measureText(`${text.slice(0, end)}\u2026`).width > room) end -= 1;
  return `${text.slice(0, end).trimEnd()}\u2026`;
}

/**
 * @param {Pull[]} pulls
 * @param {Movie} target
 * @param {string} result short text below the target
 * @param {number} width of the picture, in pixels
 */
function picture(pulls, target, result, width) {
  const narrow = width < 480;
  const left = narrow ? width * 0.58 : Math.min(320, width * 0.48);
  const tile = narrow ? 58 : 84;
  const height = Math.max(TOP * 2 + pulls.length * ROW, tile * 1.25 + 56);
  const right = width - tile - 8;
  const middle = height / 2 - 14;
  const largest = Math.max(...pulls.map(({ pull }) => Math.abs(pull)), 1e-9);
  const widths = pulls.map(({ pull }) => 1.5 + (14 * Math.abs(pull)) / largest);
  const total = widths.reduce((sum, width) => sum + width, 0);
  const first = (height - pulls.length * ROW) / 2 + ROW / 2;
  let arriving = middle - total / 2;
  const ribbons = [];
  const words = [];
  for (const [place, { label, detail, pull }] of pulls.entries()) {
    const y = first + place * ROW;
    const thick = widths[place];
    const end = arriving + thick / 2;
    const bend = (right - left) / 2;
    arriving += thick;
    const tone = pull >= 0 ? "up" : "down";
    ribbons.push(
      s("path", {
        class: `ribbon ${tone}`,
        "stroke-width": thick.toFixed(1),
        d: `M${left} ${y}C${left + bend} ${y} ${right - bend} ${end} ${right} ${end}`,
      }),
    );
    words.push(
      s("text", { x: 0, y: detail ? y - 2 : y + 4, class: "pull-title", text: cut(label, left - 62) }),
      detail && s("text", { x: 0, y: y + 13, class: "pull-detail", text: `your rating: ${detail}` }),
      s("text", {
        x: left - 8,
        y: y + 5,
        class: `pull-number ${Math.abs(pull) < 0.005 ? "" : tone}`,
        text: signed(pull),
      }),
    );
  }
  const box = { x: right, y: middle - tile * 0.625, width: tile, height: tile * 1.25, rx: 8, class: "pull-target" };
  return s(
    "svg",
    { class: "pulls", viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" },
    ...ribbons,
    s("rect", box),
    s("text", { x: right + tile / 2, y: middle + 8, class: "pull-initials", text: initialsOf(titleOf(target)) }),
    s("text", { x: right + tile / 2, y: middle + tile * 0.625 + 24, class: "pull-result", text: result }),
    ...words,
  );
}

/** The same contributions as sentences. @param {Reason[]} because @param {Scale | null} scale @param {string} unit */
function sentences(because, scale, unit) {
  return because.map(({ movie, rating, contribution }) => {
    const what =
      rating === null || !scale ? `You like ${titleOf(movie)}` : `You gave ${titleOf(movie)} ${spoken(rating, scale)}`;
    return h("li", { text: `${what}: ${signed(contribution)}${unit}` });
  });
}

/** @param {number} number @param {string} label @param {string} [kind] */
function term(number, label, kind = "") {
  return h(
    "li",
    { class: `term ${kind}` },
    h("b", { text: kind ? number.toFixed(2) : signed(number) }),
    h("span", { text: label }),
  );
}

/**
 * A picture that is drawn again when its width changes.
 * @param {(width: number) => SVGElement} draw
 * @param {string} label
 */
function figure(draw, label) {
  const element = h("div", { class: "pulls-box", role: "img", "aria-label": label });
  let drawn = 0;
  new ResizeObserver(([entry]) => {
    const width = Math.floor(entry.contentRect.width);
    if (width < 1 || width === drawn) return;
    drawn = width;
    element.replaceChildren(draw(width));
  }).observe(element);
  return element;
}

/**
 * The explanation by a model without stars: of the movie’s place in the list.
 * @param {Explanation} found
 * @returns {HTMLElement}
 */
export function whyListed({ ranking, target }) {
  if (!ranking?.because.length) {
    const text = "This movie is here because many people like it. Like some movies to see how they change your list.";
    return h("div", { class: "why" }, h("p", { class: "hint", text }));
  }
  const words = {
    heading: "How the movies you like change its place in your list",
    result: "in your list",
    unit: "",
    label: `How the movies you like move ${titleOf(target)} up or down in your list`,
  };
  return h("div", { class: "why" }, picturePart(ranking.because, target, null, words));
}

/**
 * @param {Explanation} found
 * @param {number} prediction
 * @param {Scale} scale
 * @returns {HTMLElement}
 */
export function why(found, prediction, scale) {
  const own = found.because.reduce((sum, reason) => sum + reason.contribution, 0);
  const clipped = Math.min(scale.high, Math.max(scale.low, prediction));
  const sum = h(
    "ul",
    { class: "sum", "aria-label": "How the prediction adds up" },
    term(found.mean, "average rating", "from"),
    term(found.user, "your rating level"),
    term(found.movie, "this movie’s level"),
    term(own, "your taste"),
    term(prediction, "predicted", "to"),
  );
  const parts = [
    picturePart(found.because, found.target, scale, {
      heading: "How your ratings change the predicted stars",
      result: `${value(clipped, scale)} \u2605`,
      unit: " stars",
      label: `How your ratings change the predicted stars of ${titleOf(found.target)}`,
    }),
    sum,
  ];
  if (found.ranking && found.because.length) {
    parts.push(
      picturePart(found.ranking.because, found.target, scale, {
        heading: "How your ratings change its place in your list",
        result: "in your list",
        unit: "",
        label: `How your ratings move ${titleOf(found.target)} up or down in your list`,
      }),
    );
  }
  if (!found.because.length)
    parts[0] = h("p", {
      class: "hint",
      text:
        "This prediction is based on other people\u2019s ratings. " +
        "Rate some movies to see how your own ratings change it.",
    });
  return h("div", { class: "why" }, ...parts);
}

/**
 * @param {Reason[]} because
 * @param {Movie} target
 * @param {Scale | null} scale
 * @param {{heading: string, result: string, unit: string, label: string}} words
 */
function picturePart(because, target, scale, { heading, result, unit, label }) {
  const pulls = pullsOf(because);
  const ups = pulls.filter(({ pull }) => pull >= 0).length;
  const strongest = because[0] ? `${titleOf(because[0].movie)}, ${signed(because[0].contribution)}` : "none";
  const summary = `${label}: ${ups} up, ${pulls.length - ups} down. Strongest: ${strongest}.`;
  return h(
    "section",
    { class: "why-part" },
    h("h3", { text: heading }),
    h(
      "p",
      { class: "legend" },
      h("span", { class: "key up", text: "raises" }),
      h("span", { class: "key down", text: "lowers" }),
    ),
    figure((width) => picture(pulls, target, result, width), summary),
    h(
      "details",
      { class: "in-words" },
      h("summary", { text: "As text" }),
      h("ol", {}, ...sentences(because, scale, unit)),
    ),
  );
}
