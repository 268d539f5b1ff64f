/** Charts that say everything in numbers, too: bars stand in tables, curves have a table below them. */

import { h, s } from "./dom.js";

/** @typedef {{title: string, key?: (row: any) => any, cell?: (row: any) => any, words?: boolean}} Column */

/** A box with a heading. @param {string} title @param {...any} children */
export function panel(title, ...children) {
  return h("div", { class: "panel" }, h("h3", { text: title }), ...children);
}

/**
 * A table.
 * @param {string} caption for screen readers
 * @param {{title: string, kind?: string, cell: (row: any) => any}[]} columns
 * @param {any[]} rows
 * @param {(row: any) => string | null} [mark] class of a row
 */
export function table(caption, columns, rows, mark = () => null) {
  const head = h("tr", {}, ...columns.map(({ title, kind }) => h("th", { scope: "col", class: kind, text: title })));
  const lines = rows.map((row) => h("tr", { class: mark(row) }, ...columns.map(({ kind, cell }, place) =>
    h(place ? "td" : "th", { class: kind, ...(place ? {} : { scope: "row" }) }, ...[cell(row)].flat()))));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {}, h("caption", { class: "sr", text: caption }), h("thead", {}, head), h("tbody", {}, ...lines)));
}

/** A bar of a share of its cell. @param {number} share 0 to 1 @param {string} [kind] */
export function bar(share, kind = "") {
  const width = Math.max(0, Math.min(100, 100 * share));
  return s("svg", { class: `bar ${kind}`, viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    s("rect", { width, height: 10 }));
}

/** About five round values that span a range. @param {number} low @param {number} high */
export function ticks(low, high) {
  const rough = (high - low || Math.abs(high) || 1) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((times) => times * power >= rough) ?? 10);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at += 1) found.push(Number((at * step).toPrecision(12)));
  return found;
}

/**
 * Lines over numbers, drawn anew for every width so that the writing stays readable.
 * @param {string} label what it shows, said in one sentence
 * @param {{x: string, y: string}} axes
 * @param {[number, number][]} points
 * @param {{best?: [number, number], even?: boolean}} [more] `best` is marked; `even` adds the line of equal numbers
 */
export function curve(label, axes, points, { best, even } = {}) {
  const box = s("svg", { class: "chart", role: "img", "aria-label": label });
  const draw = () => {
    const width = Math.max(240, box.clientWidth || 520), height = 250, left = 52, bottom = height - 40, top = 24;
    const xs = points.map(([x]) => x), ys = points.flatMap(([x, y]) => (even ? [x, y] : [y]));
    const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const px = (/** @type {number} */ x) => left + ((width - left - 12) * (x - x0)) / (x1 - x0 || 1);
    const py = (/** @type {number} */ y) => bottom - ((bottom - top) * (y - y0)) / (y1 - y0 || 1);
    const path = (/** @type {[number, number][]} */ line) => `M${line.map(([x, y]) => `${px(x).toFixed(1)} ${py(y).toFixed(1)}`).join("L")}`;
    box.setAttribute("viewBox", `0 0 ${width} ${height}`);
    box.setAttribute("height", String(height));
    box.replaceChildren(
      ...ticks(y0, y1).flatMap((y) => [
        s("path", { class: "grid-line", d: `M${left} ${py(y)}H${width - 12}` }),
        s("text", { x: left - 8, y: py(y) + 4, "text-anchor": "end", text: y })]),
      ...ticks(x0, x1).map((x) => s("text", { x: px(x), y: bottom + 20, "text-anchor": "middle", text: x })),
      s("text", { x: 0, y: 11, text: axes.y }),
      s("text", { x: width - 12, y: height - 2, "text-anchor": "end", text: axes.x }),
      even && s("path", { class: "line even", d: path([[x0, x0], [x1, x1]]) }),
      s("path", { class: "line", d: path(points) }),
      ...points.length <= 40 ? points.map(([x, y]) => s("circle", { class: "dot", cx: px(x), cy: py(y), r: 3.5 }, s("title", { text: `${x}: ${y}` }))) : [],
      best && s("circle", { class: "best", cx: px(best[0]), cy: py(best[1]), r: 6 }, s("title", { text: `best, ${best[0]}: ${best[1]}` })),
    );
  };
  new ResizeObserver(draw).observe(box);
  return box;
}
