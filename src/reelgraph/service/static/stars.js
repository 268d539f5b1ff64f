/** The star rating control: a slider of whole or half stars for mouse, touch, keyboard and screen readers. */

import { h, icon, mayMove, s } from "./dom.js";
import { exact, shareOf, spoken, titleOf } from "./format.js";

/** @typedef {import("./format.js").Movie} Movie */
/** @typedef {import("./format.js").Scale} Scale */
/** @typedef {import("./state.js").Visitor} Visitor */

const COUNT = 5;
const EDGE = 0.03; // share of the row's width that means the lowest value
const MAX_DRIFT = 34; // vertical pixels after which a drag no longer rates

/** A row of five stars as one path. */
function row() {
  const stars = Array.from({ length: COUNT }, (_, place) => {
    const points = Array.from({ length: 10 }, (_, corner) => {
      const radius = corner % 2 ? 4.4 : 10;
      const turn = (Math.PI / 5) * corner - Math.PI / 2;
      return `${(place * 24 + 12 + radius * Math.cos(turn)).toFixed(2)} ${(12.6 + radius * Math.sin(turn)).toFixed(2)}`;
    });
    return `M${points.join("L")}z`;
  });
  return stars.join("");
}
const ROW = row();

/** @param {string} kind */
function layer(kind) {
  return s("svg", { class: kind, viewBox: "0 0 120 24", "aria-hidden": "true" }, s("path", { d: ROW }));
}

/** Stars that show a value and cannot be changed. @param {number} share 0 to 1 */
export function shownStars(share) {
  const front = h("span", { class: "stars-front" }, layer("full"));
  const element = h("span", { class: "stars-row", "aria-hidden": "true" }, layer("hollow"), front);
  element.style.setProperty("--fill", `${100 * share}%`);
  return element;
}

/** The values that can be given: every step of the scale, or ten steps if it has none. @param {Scale} scale */
export function valuesOf(scale) {
  const span = scale.high - scale.low;
  const step = scale.step || span / 10;
  const size = Math.round(span / step);
  return Array.from({ length: size + 1 }, (_, place) => Math.round((scale.low + place * step) * 1e6) / 1e6);
}

/**
 * The control for one movie, bound to the visitor’s ratings.
 * @param {{movie: Movie, scale: Scale, visitor: Visitor}} what
 */
export function stars({ movie, scale, visitor }) {
  const values = valuesOf(scale);
  const id = movie.movie_id;
  const title = titleOf(movie);
  const input = h("input", {
    type: "range",
    min: 0,
    max: values.length,
    step: 1,
    class: "stars-input",
    "aria-label": `Your rating for ${title}`,
  });
  const display = shownStars(0);
  const hint = h("span", { class: "stars-hint", "aria-hidden": "true" });
  const remove = h(
    "button",
    {
      type: "button",
      class: "stars-remove",
      "aria-label": `Remove your rating for ${title}`,
      title: "Remove your rating",
    },
    icon("close"),
  );
  const pad = h("span", { class: "stars-pad" }, display, input);
  const element = h("span", { class: "stars", "data-movie": id }, pad, remove, hint);

  /** @param {number | null} given @param {boolean} [trying] */
  const show = (given, trying = false) => {
    display.style.setProperty("--fill", `${100 * (given === null ? 0 : shareOf(given, scale))}%`);
    element.classList.toggle("trying", trying);
    hint.textContent = given === null ? "" : exact(given);
  };
  const update = () => {
    const given = visitor.starsOf(id);
    show(given);
    input.value = String(given === null ? 0 : nearest(values, given) + 1);
    input.setAttribute("aria-valuetext", given === null ? "not rated" : spoken(given, scale));
    element.classList.toggle("rated", given !== null);
    remove.hidden = given === null;
  };
  /** @param {number | null} given */
  const give = (given) => {
    if (given === null) visitor.remove(id);
    else visitor.rate(movie, given);
    update();
    if (given !== null && mayMove()) {
      pad.animate([{ transform: "scale(1)" }, { transform: "scale(1.14)" }, { transform: "scale(1)" }], {
        duration: 220,
        easing: "ease-out",
      });
    }
  };
  let startY = 0;
  /** @param {PointerEvent} event */
  const under = (event) => {
    const box = pad.getBoundingClientRect();
    const share = Math.min(1, Math.max(0.001, (event.clientX - box.left) / box.width));
    return pointed(values, share, scale);
  };

  // A rating moves the page. Without this, the click of the same tap would reach whatever is then under the finger.
  pad.addEventListener("touchend", (event) => event.cancelable && event.preventDefault());
  pad.addEventListener("pointermove", (event) => {
    const held = pad.hasPointerCapture(event.pointerId);
    if (held && Math.abs(event.clientY - startY) > MAX_DRIFT) {
      pad.releasePointerCapture(event.pointerId); // dragged away or scrolling: no rating
      update();
    } else if (held || (event.pointerType === "mouse" && event.buttons === 0)) show(under(event), true);
  });
  pad.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    if (event.pointerType === "mouse") event.preventDefault(); // The slider underneath would react as well.
    pad.setPointerCapture(event.pointerId);
    startY = event.clientY;
    show(under(event), true);
  });
  pad.addEventListener("pointerup", (event) => {
    if (!pad.hasPointerCapture(event.pointerId)) return;
    input.focus(/** @type {any} */ ({ preventScroll: true, focusVisible: false }));
    give(under(event));
  });
  pad.addEventListener("pointercancel", update);
  pad.addEventListener("pointerleave", update);
  input.addEventListener("input", () => give(Number(input.value) === 0 ? null : values[Number(input.value) - 1]));
  input.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const typed = /^[0-9]$/.test(event.key) ? Number(event.key) : null;
    if (event.key === "Delete" || event.key === "Backspace" || (typed === 0 && scale.low > 0)) give(null);
    else if (typed !== null && values.includes(typed)) give(typed);
    else return;
    event.preventDefault();
  });
  remove.addEventListener("click", () => {
    give(null);
    input.focus({ preventScroll: true });
  });
  update();
  return { element, input, update };
}

/** The index of the nearest value. @param {number[]} values @param {number} given */
function nearest(values, given) {
  return values.reduce(
    (best, value, place) => (Math.abs(value - given) < Math.abs(values[best] - given) ? place : best),
    0,
  );
}

/**
 * The value for a point on the row: the star or half star it lies on. The left edge is the lowest value.
 * @param {number[]} values
 * @param {number} share of the row's width
 * @param {Scale} scale
 */
export function pointed(values, share, scale) {
  const halves = values.filter(
    (value) => Math.abs(2 * COUNT * shareOf(value, scale) - Math.round(2 * COUNT * shareOf(value, scale))) < 1e-6,
  );
  const choices = values.length > 2 * COUNT + 1 && halves.length > 1 ? halves : values;
  if (share < EDGE) return choices[0];
  return choices.find((value) => shareOf(value, scale) >= share - 1e-9) ?? choices[choices.length - 1];
}
