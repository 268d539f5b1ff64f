/** The predicted stars as a number, and a bar for their 90 % prediction interval. */

import { h } from "./dom.js";
import { exact, value } from "./format.js";

/** @typedef {import("./format.js").Scale} Scale */

/**
 * "Predicted 4.3 of 5 stars; 9 out of 10 ratings fall between 2.9 and 5.0".
 * @param {number} predicted
 * @param {[number, number] | null} interval
 * @param {Scale} scale
 */
export function predictedWords(predicted, interval, scale) {
  const likely = interval
    ? `; 9 out of 10 ratings fall between ${value(interval[0], scale)} and ${value(interval[1], scale)}`
    : "";
  return `Predicted ${value(predicted, scale)} of ${exact(scale.high)} stars${likely}`;
}

/**
 * The predicted stars of one movie; nothing where the model has no stars.
 * @param {Scale | null} scale
 * @returns {{element: HTMLElement, update: (predicted: number | null, interval: [number, number] | null) => void}}
 */
export function forecast(scale) {
  return scale === null ? { element: h("p", { class: "forecast", hidden: true }), update: () => {} } : shown(scale);
}

/** @param {Scale} scale */
function shown(scale) {
  const number = h("span", { class: "forecast-number" });
  const change = h("span", { class: "forecast-change" });
  const bar = h(
    "span",
    { class: "forecast-bar" },
    h("span", { class: "forecast-band" }),
    h("span", { class: "forecast-dot" }),
  );
  const range = h("span", { class: "forecast-range" });
  const words = h("span", { class: "sr" });
  const seen = h(
    "span",
    { class: "forecast-seen", "aria-hidden": "true" },
    h("span", { class: "forecast-value" }, number, h("span", { class: "forecast-star", text: "\u2605" }), change),
    h("span", { class: "forecast-likely" }, bar, range),
  );
  const element = h("p", { class: "forecast" }, words, seen);
  const part = (/** @type {number} */ at) => `${(100 * (at - scale.low)) / (scale.high - scale.low)}%`;
  /** @type {number | null} */
  let last = null;

  /** @param {any} predicted a number @param {[number, number] | null} interval */
  const update = (predicted, interval) => {
    number.textContent = value(predicted, scale);
    words.textContent = predictedWords(predicted, interval, scale);
    element.title = words.textContent;
    element.classList.toggle("plain", interval === null);
    bar.style.setProperty("--at", part(predicted));
    if (interval) {
      bar.style.setProperty("--from", part(interval[0]));
      bar.style.setProperty("--to", part(interval[1]));
      range.textContent = `${value(interval[0], scale)}\u2009\u2013\u2009${value(interval[1], scale)}`;
    }
    const moved = last === null ? 0 : Number(value(predicted, scale)) - Number(value(last, scale));
    change.textContent = moved ? `${moved > 0 ? "\u25b2" : "\u25bc"}${value(Math.abs(moved), scale)}` : "";
    change.classList.toggle("down", moved < 0);
    last = predicted;
  };
  return { element, update };
}
