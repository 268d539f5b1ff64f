/** The explanation of a prediction: one ribbon per rating, as wide as its contribution. */

import { h, s } from "./dom.js";
import { counted, exact, rounded, signed, spoken, titleOf, value } from "./format.js";

/** @typedef {import("./format.js").Movie} Movie */
/** @typedef {import("./format.js").Scale} Scale */
/** @typedef {{movie: Movie, rating: number | null, contribution: number, disliked: boolean}} Reason */
/** What the server tells of all contributions. @typedef {{supporting: Reason[], opposing: Reason[],
 *   own: Reason | null, rest_number: number, rest: number, total: number}} Grounds */
/** @typedef {{target: Movie, prediction: number | null, mean: number, user: number, movie: number, because: Reason[],
 *   grounds: Grounds, interval: [number, number] | null,
 *   ranking: {score: number, movie: number, because: Reason[], grounds: Grounds} | null}} Explanation */
/** @typedef {{label: string, detail: string, pull: number}} Pull */

const ROW = 38;
const TOP = 14;

/** Up to three initials of a title, or the number it begins with. @param {string} title */
export function initialsOf(title) {
  const words = title.split(/[:\u2013(]/)[0].match(/[\p{L}\p{N}]+(?:['\u2019]\p{L}+)?/gu) ?? [];
  const telling = words.filter(
    (word, place) =>
      !/^(the|an?|of|and|in|to|on|for|de|la|le|les|el|il)$/i.test(word) || (place > 0 && words.length < 2),
  );
  const used = telling.length ? telling : words;
  if (used.length && /^\d{1,4}$/.test(used[0])) return used[0];
  return (
    used
      .slice(0, 3)
      .map((word) => [...word][0].toUpperCase())
      .join("") || "?"
  );
}

/** @param {Reason} reason */
function detailOf({ rating, contribution, disliked }) {
  if (rating === null) return "";
  const stars = `${exact(rating)}\u2009\u2605`;
  if (!disliked) return `your rating: ${stars}`;
  return contribution > 0 ? `disliked (${stars}), as by people who like this` : `you disliked it: ${stars}`;
}

/** The rows of a picture: reasons, objections, the movie's own rating, and the rest. @param {Grounds} grounds @returns {Pull[]} */
export function pullsOf({ supporting, opposing, own, rest_number: number, rest }) {
  const pulls = [...supporting, ...opposing].map((reason) => ({
    label: titleOf(reason.movie),
    detail: detailOf(reason),
    pull: reason.contribution,
  }));
  if (own) pulls.push({ label: "This movie itself", detail: detailOf(own), pull: own.contribution });
  if (number) {
    const label = counted(number, `${pulls.length ? "other " : ""}${supporting[0]?.rating === null ? "movie" : "rating"}`);
    pulls.push({ label, detail: "", pull: rest });
  }
  return pulls;
}

/** Shortens a text to a width in pixels. @param {string} text @param {number} room @param {string} [font] */
function cut(text, room, font = "600 13.5px") {
  const pen = /** @type {CanvasRenderingContext2D} */ (document.createElement("canvas").getContext("2d"));
  pen.font = `${font} ${getComputedStyle(document.body).fontFamily}`;
  if (pen.measureText(text).width <= room) return text;
  let end = text.length;
  while (end > 1 && pen.measureText(`${text.slice(0, end)}\u2026`).width > room) end -= 1;
  return `${text.slice(0, end).trimEnd()}\u2026`;
}

/**
 * @param {Pull[]} pulls
 * @param {Movie} target
 * @param {string} result short text below the target
 * @param {number} sum of the pulls
 * @param {number} width of the picture, in pixels
 */
function picture(pulls, target, result, sum, width) {
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
  const shown = rounded(pulls.map(({ pull }) => pull), sum);
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
      detail && s("text", { x: 0, y: y + 13, class: "pull-detail", text: cut(detail, left - 62, "400 12px") }),
      s("text", {
        x: left - 8,
        y: y + 5,
        class: `pull-number ${shown[place] === 0 ? "" : tone}`,
        text: signed(shown[place]),
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

/** Every contribution as a sentence. @param {Reason[]} because @param {Scale | null} scale @param {string} unit */
function sentences(because, scale, unit) {
  return because.map(({ movie, rating, contribution, disliked }) => {
    const stars = rating === null || !scale ? "" : spoken(rating, scale);
    const what = !stars ? `You like ${titleOf(movie)}` : disliked ? `You disliked ${titleOf(movie)} (${stars})` : `You gave ${titleOf(movie)} ${stars}`;
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
  return h("div", { class: "why" }, picturePart(ranking, target, null, words));
}

/**
 * @param {Explanation} found
 * @param {number} prediction
 * @param {Scale} scale
 * @returns {HTMLElement}
 */
export function why(found, prediction, scale) {
  const clipped = Math.min(scale.high, Math.max(scale.low, prediction));
  const [mean, user, taste, whole] = [found.mean, found.user, found.grounds.total, prediction].map((part) =>
    Number(part.toFixed(2)),
  );
  const movie = whole - mean - user - taste; // It takes what the others lose by rounding.
  const sum = h(
    "ul",
    { class: "sum", "aria-label": "How the prediction adds up" },
    term(found.mean, "average rating", "from"),
    term(found.user, "your rating level"),
    term(movie, "this movie’s level"),
    term(found.grounds.total, "your taste"),
    term(prediction, "predicted", "to"),
  );
  const parts = [
    picturePart(found, found.target, scale, {
      heading: "How your ratings change the predicted stars",
      result: `${value(clipped, scale)} \u2605`,
      unit: " stars",
      label: `How your ratings change the predicted stars of ${titleOf(found.target)}`,
    }),
    sum,
  ];
  if (found.ranking && found.because.length) {
    parts.push(
      picturePart(found.ranking, found.target, scale, {
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
 * @param {{because: Reason[], grounds: Grounds}} contributions
 * @param {Movie} target
 * @param {Scale | null} scale
 * @param {{heading: string, result: string, unit: string, label: string}} words
 */
function picturePart({ because, grounds }, target, scale, { heading, result, unit, label }) {
  const { supporting, opposing, total } = grounds;
  const first = supporting[0] ?? opposing[0];
  const strongest = first ? ` First: ${titleOf(first.movie)}, ${signed(first.contribution)}.` : "";
  const summary = `${label}: ${supporting.length} up, ${opposing.length} down.${strongest} Together: ${signed(total)}.`;
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
    figure((width) => picture(pullsOf(grounds), target, result, total, width), summary),
    h("p", { class: "together" }, "Together ", h("b", { text: `${signed(total)}${unit}` })),
    h(
      "details",
      { class: "in-words" },
      h("summary", { text: "All contributions" }),
      h("ol", {}, ...sentences(because, scale, unit)),
    ),
  );
}
