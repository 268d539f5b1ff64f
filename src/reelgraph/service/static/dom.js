/** Builds elements by function calls and never from HTML strings, so that no title is parsed as HTML. */

const SVG = "http://www.w3.org/2000/svg";

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * @param {Element} element
 * @param {Record<string, any>} properties attributes, listeners named `on*`, and `text`; null and false are skipped
 * @param {Child[]} children
 */
function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === false || value === null || value === undefined) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (name === "text") element.textContent = String(value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children) {
    if (child !== null && child !== undefined && child !== false) element.append(/** @type {any} */ (child));
  }
  return element;
}

/**
 * An HTML element.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, any>} [properties]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, properties = {}, ...children) {
  return /** @type {any} */ (fill(document.createElement(tag), properties, children));
}

/**
 * An SVG element.
 * @param {string} tag
 * @param {Record<string, any>} [properties]
 * @param {...Child} children
 * @returns {SVGElement}
 */
export function s(tag, properties = {}, ...children) {
  return /** @type {any} */ (fill(document.createElementNS(SVG, tag), properties, children));
}

/** The element with an id that is known to exist. @param {string} id @returns {any} */
export function byId(id) {
  return document.getElementById(id);
}

const ICONS = {
  close: "M6 6l12 12M18 6L6 18",
  hide: "M3 3l18 18M11 6h1c5 0 8.5 3.6 10 6a17 17 0 01-3 3.6M6.5 7.6A16 16 0 002 12c1.5 2.4 5 6 10 6a10 10 0 004-1",
  why: "M5 6a2 2 0 100 .01M5 18a2 2 0 100 .01M19 12a2 2 0 100 .01M7 6.5c5 .5 5 5 10 5.5M7 17.5c5-.5 5-5 10-5.5",
  similar: "M4 8h9v12H4zM9 4h11v12h-3",
  import: "M12 3v11.5M8 11l4 4 4-4M5 14v6h14v-6",
  share: "M12 15V3.5M8 7l4-4 4 4M5 12v8h14v-8",
  undo: "M8 5L4 9l4 4M4 9h10a5 5 0 010 10h-4",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  like: "M12 20C5 15.5 3 12 3 8.8A4.6 4.6 0 0112 7a4.6 4.6 0 019 1.8C21 12 19 15.5 12 20z",
  keep: "M4 6c0-3 16-3 16 0v12c0 3-16 3-16 0zM4 6c0 3 16 3 16 0M4 12c0 3 16 3 16 0",
  people: "M8 5a3 3 0 100 6 3 3 0 000-6zM2.5 19c0-7 11-7 11 0M16 6a2.6 2.6 0 110 5.2M16.5 13.6c3 0 5 2 5 5.4",
  want: "M7 4h10v16l-5-4-5 4z",
  out: "M14 4h6v6M20 4l-9 9M18 14v6H4V6h6",
  check: "M5 12.5l4.5 4.5L19 7.5",
  sun: "M12 8a4 4 0 100 8 4 4 0 000-8zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1 1M18 18l1 1M19 5l-1 1M6 18l-1 1",
  moon: "M20 14.5A8.5 8.5 0 019.5 4 8.5 8.5 0 1020 14.5z",
  retry: "M20 11a8 8 0 10-2.3 6.3M20 5v6h-6",
};

/**
 * A line icon, hidden from screen readers; the button around it has a label.
 * @param {keyof typeof ICONS} name
 */
export function icon(name) {
  return s("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" }, s("path", { d: ICONS[name] }));
}

/** Whether the visitor allows animations. */
export function mayMove() {
  return !matchMedia("(prefers-reduced-motion: reduce)").matches;
}
