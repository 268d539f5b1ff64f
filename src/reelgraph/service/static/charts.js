/** Tables, bars and line charts. Every chart's numbers are in a table, too. */

import { h, s } from "./dom.js";

/** A box with a heading. @param {string} title @param {...any} children */
export function panel(title, ...children) {
  return h("div", { class: "panel" }, h("h3", { text: title }), ...children);
}

/**
 * A table that scrolls sideways where it is too wide.
 * @param {string} caption for screen readers
 * @param {{title: string, kind?: string, cell: (row: any) => any}[]} columns
 * @param {any[]} rows
 * @param {(row: any) => string | null} [mark] class of a row
 */
export function table(caption, columns, rows, mark = () => null) {
  const head = h("tr", {}, ...columns.map(({ title, kind }) => h("th", { scope: "col", class: kind, text: title })));
  const cells = (/** @type {any} */ row) =>
    columns.map(({ kind, cell }, column) => {
      const attributes = column ? { class: kind } : { class: kind, scope: "row" };
      return h(column ? "td" : "th", attributes, ...[cell(row)].flat());
    });
  const lines = rows.map((row) => h("tr", { class: mark(row) }, ...cells(row)));
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {}, h("caption", { class: "sr", text: caption }), h("thead", {}, head), h("tbody", {}, ...lines)),
  );
}

/** A bar that fills a share of its cell. @param {number} share 0 to 1 @param {string} [kind] */
export function bar(share, kind = "") {
  const width = Math.max(0, Math.min(100, 100 * share));
  return s(
    "svg",
    { class: `bar ${kind}`, viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    s("rect", { width, height: 10 }),
  );
}

/**
 * A column of marks on one range, which begins near the smallest value so that differences show; bars begin at 0.
 * @param {any[]} rows
 * @param {(row: any) => number} value
 * @param {(row: any) => string} kind
 */
export function marks(rows, value, kind) {
  const values = rows.map(value);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const gap = (most - least || most || 1) / 12;
  const cell = (/** @type {any} */ row) =>
    s(
      "svg",
      { class: `bar ${kind(row)}`, viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
      s("path", { class: "bar-line", d: "M0 5H100" }),
      s("rect", { x: (97 * (value(row) - least + gap)) / (most - least + 2 * gap), width: 3, height: 10 }),
    );
  return { title: `${(least - gap).toFixed(2)} to ${(most + gap).toFixed(2)}`, kind: "bars", cell };
}

/** About five round values across a range. @param {number} low @param {number} high */
export function ticks(low, high) {
  const rough = (high - low || Math.abs(high) || 1) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((times) => times * power >= rough) ?? 10);
  const values = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at += 1) {
    values.push(Number((at * step).toPrecision(12)));
  }
  return values;
}

const HEIGHT = 250;
const LEFT = 52;
const RIGHT = 12;
const TOP = 24;
const BOTTOM = HEIGHT - 40;
const MAX_DOTS = 40;

/**
 * A line chart, drawn again when its width changes so that the text keeps its size.
 * @param {string} label what it shows, in one sentence
 * @param {{x: string, y: string}} axes
 * @param {[number, number][]} points
 * @param {{best?: [number, number], even?: boolean, second?: [number, number][]}} [options] `best` is a point to mark,
 *   `even` adds the line x = y, `second` is a second line
 */
export function curve(label, axes, points, { best, even, second = [] } = {}) {
  const chart = s("svg", { class: "chart", role: "img", "aria-label": label });
  const all = [...points, ...second];
  const xs = all.map(([x]) => x);
  const ys = all.flatMap(([x, y]) => (even ? [x, y] : [y]));
  const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const draw = () => {
    const width = Math.max(240, chart.clientWidth || 520);
    const px = (/** @type {number} */ x) => LEFT + ((width - LEFT - RIGHT) * (x - x0)) / (x1 - x0 || 1);
    const py = (/** @type {number} */ y) => BOTTOM - ((BOTTOM - TOP) * (y - y0)) / (y1 - y0 || 1);
    const line = (/** @type {[number, number][]} */ path, /** @type {string} */ kind) =>
      path.length > 0 &&
      s("path", { class: kind, d: `M${path.map(([x, y]) => `${px(x).toFixed(1)} ${py(y).toFixed(1)}`).join("L")}` });
    const dot = (/** @type {[number, number]} */ [x, y], /** @type {any} */ attributes, title = `${x}: ${y}`) =>
      s("circle", { cx: px(x), cy: py(y), ...attributes }, s("title", { text: title }));
    const dots = (/** @type {[number, number][]} */ path, /** @type {string} */ kind) =>
      path.length <= MAX_DOTS ? path.map((point) => dot(point, { class: kind, r: 3.5 })) : [];
    chart.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    chart.setAttribute("height", String(HEIGHT));
    chart.replaceChildren(
      ...ticks(y0, y1).flatMap((y) => [
        s("path", { class: "grid-line", d: `M${LEFT} ${py(y)}H${width - RIGHT}` }),
        s("text", { x: LEFT - 8, y: py(y) + 4, "text-anchor": "end", text: y }),
      ]),
      ...ticks(x0, x1).map((x) => s("text", { x: px(x), y: BOTTOM + 20, "text-anchor": "middle", text: x })),
      s("text", { x: 0, y: 11, text: axes.y }),
      s("text", { x: width - RIGHT, y: HEIGHT - 2, "text-anchor": "end", text: axes.x }),
      ...[
        even &&
          line(
            [
              [x0, x0],
              [x1, x1],
            ],
            "line even",
          ),
        line(second, "line second"),
        line(points, "line"),
      ].filter(Boolean),
      ...dots(second, "dot second"),
      ...dots(points, "dot"),
      ...(best ? [dot(best, { class: "best", r: 6 }, `best, ${best[0]}: ${best[1]}`)] : []),
    );
  };
  new ResizeObserver(draw).observe(chart);
  return chart;
}
