/** The analysts' page: what the model in service learned from, how, where it errs, and what it lists. */

import { bar, curve, panel, table } from "./charts.js";
import { byId, h } from "./dom.js";
import { count, counted, exact, factsOf, titleOf } from "./format.js";
import { themeButton } from "./themes.js";

const PREDICTORS = { mean: "mean rating", popularity: "popularity", bias: "damped biases", untimed: "this model, without the time of rating", model: "this model" };
const GROUPS = {
  movie_ratings: "By the movie’s training ratings", user_ratings: "By the user’s training ratings", rating: "By rating given",
  genre: "By genre", decade: "By decade of the movie",
};
const LISTS = [["ndcg", "nDCG@10", 4], ["recall", "Recall@20", 4], ["coverage", "coverage", 3], ["novelty", "novelty, bits", 2], ["diversity", "diversity", 3], ["popularity", "mean ratings", 0]];

/** @param {number | null | undefined} number @param {number} digits */
const fixed = (number, digits) => (number === null || number === undefined ? "–" : number.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }));
/** @param {number} share @param {number} [digits] */
const percent = (share, digits = 0) => `${fixed(100 * share, digits)} %`;
/** @param {string | null} date */
const day = (date) => (date ? date.slice(0, 10) : "at an unknown time");
/** @param {string} words */
const none = (words) => h("p", { class: "none", text: words });

/** @param {string} path */
async function ask(path) {
  const answer = await fetch(path);
  if (answer.ok) return answer.json();
  const said = (await answer.json().catch(() => null))?.error;
  throw Object.assign(new Error(said?.message ?? `The server answered ${answer.status}.`), { code: said?.code });
}

/** The split that a model is judged by, and what it says. @param {any} model @returns {[string, any]} */
function judged(model) {
  const split = model.metrics.test ? "test" : "valid";
  return [split === "test" ? "test" : "validation", model.metrics[split] ?? {}];
}

/** @param {any} found */
function showOpening({ model, data }) {
  const [split, errors] = judged(model), lists = model.list_measures?.default;
  const changes = Object.entries(model.changes ?? {}).map(([what, number]) => `${count(number)} ${what}`).join(", ");
  byId("about").textContent = `A ${model.kind} model, made ${day(model.artifact.created)}${model.seconds ? ` in ${fixed(model.seconds, 0)} s` : ""}`
    + `${model.seed === null ? "" : `, seed ${model.seed}`}; in service since ${model.artifact.since.replace("T", " ").replace("Z", " UTC")}. Id ${model.artifact.id.slice(0, 12)}.`
    + (changes ? ` Changed since the fit (${changes}); errors are those of the fit.` : "");
  const tiles = [
    ["Movies", count(data.movies)], ["Users", count(data.users)], ["Training ratings", count(data.ratings)],
    errors.model && [`RMSE, ${split}`, fixed(errors.model.rmse, 4), errors.bias && `damped biases ${fixed(errors.bias.rmse, 4)}`],
    errors.model && [`MAE, ${split}`, fixed(errors.model.mae, 4), errors.bias && `damped biases ${fixed(errors.bias.mae, 4)}`],
    lists && ["nDCG@10", fixed(lists.ndcg, 4), `${count(lists.users)} users’ lists`],
  ].filter(Boolean);
  byId("tiles").replaceChildren(...tiles.map(([name, value, note]) => h("div", {}, h("dt", { text: name }), h("dd", {}, value, note && h("small", { text: note })))));
}

/** Counts as bars. @param {string} title @param {string} what @param {string} unit @param {{name: string, number: number}[]} rows */
function counts(title, what, unit, rows) {
  const most = Math.max(...rows.map((row) => row.number), 1);
  return panel(title, table(title, [
    { title: what, cell: (row) => row.name },
    { title: "", kind: "bars", cell: (row) => bar(row.number / most) },
    { title: unit, cell: (row) => count(row.number) },
  ], rows));
}

/** @param {any} data */
function showData(data) {
  const { counts: rows, split, scale } = data, parts = ["train", "valid", "test"].filter((name) => rows[name]);
  const names = { train: "training", valid: "validation", test: "test" };
  byId("data-lead").textContent = [
    data.sources.length && `From ${data.sources.join(", ")}.`,
    `Stars from ${exact(scale.low)} to ${exact(scale.high)}${scale.step ? ` in steps of ${exact(scale.step)}` : ""}.`,
    parts.length && `Split ${split.kind ?? ""}: ${parts.map((name) => `${count(rows[name])} ${names[name]}`).join(", ")} ratings.`,
    rows.rejected && `${counted(rows.rejected, "row")} refused.`,
    rows.valid && data.ratings === rows.train + rows.valid && "The model then learned from training and validation ratings together.",
  ].filter(Boolean).join(" ");
  byId("data-panels").replaceChildren(
    counts("Ratings by stars", "Stars", "Ratings", data.values),
    counts("Users by length of history", "Ratings given", "Users", data.user_ratings),
    counts("Movies by ratings", "Ratings had", "Movies", data.movie_ratings));
}

/** @param {any[]} history */
function curves(history) {
  return [["fit", "valid_rmse", "Stars: validation RMSE", "RMSE", 1], ["rank fit", "valid_ndcg", "Lists: validation nDCG@10", "nDCG@10", -1]].flatMap(([phase, column, title, y, sign]) => {
    const rows = history.filter((row) => row.phase === phase && row[column] !== null);
    if (!rows.length) return [];
    const best = rows.reduce((one, other) => (sign * other[column] < sign * one[column] ? other : one));
    const points = rows.map((row) => [row.step, Number(row[column].toFixed(4))]);
    const said = `${title} by step: from ${points[0][1]} at step ${points[0][0]} to ${fixed(best[column], 4)}, the best, at step ${best.step}.`;
    return [panel(title, h("p", { text: `Best ${fixed(best[column], 4)} at step ${best.step}.` }),
      curve(said, { x: "step", y }, points, { best: [best.step, Number(best[column].toFixed(4))] }),
      h("details", {}, h("summary", { text: "As a table" }), table(title, [
        { title: "Step", cell: (row) => row.step }, { title: y, cell: (row) => fixed(row[column], 4) },
        { title: "Loss", cell: (row) => fixed(row.loss, 4) }, { title: "Seconds", cell: (row) => fixed(row.seconds, 1) }], rows)))];
  });
}

/** @param {any[]} rows with `name`, `pairs`, `rmse`, `mae`, `predicted`, `actual` @param {string} title @param {string} first */
function errorTable(title, first, rows) {
  const most = Math.max(...rows.map((row) => row.rmse));
  return panel(title, table(title, [
    { title: first, cell: (row) => row.name },
    { title: "", kind: "bars", cell: (row) => bar(row.rmse / most, row.pairs < 30 ? "dim" : "") },
    { title: "RMSE", cell: (row) => fixed(row.rmse, 3) }, { title: "MAE", cell: (row) => fixed(row.mae, 3) },
    { title: "Bias", cell: (row) => fixed(row.predicted - row.actual, 2) }, { title: "Pairs", cell: (row) => count(row.pairs) },
  ], rows));
}

/** @param {any} found */
function showErrors({ model, groups }) {
  const panels = Object.entries(model.metrics).map(([split, found]) => {
    const rows = Object.keys(PREDICTORS).filter((name) => found[name]).map((name) => ({ name, ...found[name] }));
    const most = Math.max(...rows.map((row) => row.rmse)), title = split === "test" ? "Test ratings" : "Validation ratings";
    return panel(title, table(title, [
      { title: "Predictor", kind: "words", cell: (row) => PREDICTORS[row.name] }, { title: "", kind: "bars", cell: (row) => bar(row.rmse / most, row.name === "model" ? "" : "dim") },
      { title: "RMSE", cell: (row) => fixed(row.rmse, 4) }, { title: "MAE", cell: (row) => fixed(row.mae, 4) }], rows, (row) => (row.name === "model" ? "own" : null)));
  });
  byId("errors-lead").textContent = groups
    ? "In stars, of test ratings. Bias is the mean predicted less the mean actual rating; pale bars stand for fewer than 30 pairs."
    : "In stars. Errors of groups need test ratings: train with --test or with a share for them.";
  const bands = groups?.calibration ?? [];
  if (bands.length > 1) {
    const points = bands.map((band) => [Number(band.predicted.toFixed(3)), Number(band.actual.toFixed(3))]);
    panels.push(panel("Predicted and actual stars", h("p", { text: "Ten groups by predicted stars; on the dashed line both are equal." }),
      curve(`Mean actual stars from ${points[0][1]} to ${points[points.length - 1][1]} for mean predicted stars from ${points[0][0]} to ${points[points.length - 1][0]}.`, { x: "mean predicted", y: "mean actual" }, points, { even: true }),
      h("details", {}, h("summary", { text: "As a table" }), table("Predicted and actual stars", [
        { title: "Predicted", cell: (row) => row.name }, { title: "Mean predicted", cell: (row) => fixed(row.predicted, 3) },
        { title: "Mean actual", cell: (row) => fixed(row.actual, 3) }, { title: "Pairs", cell: (row) => count(row.pairs) }], bands))));
  }
  for (const [name, title] of Object.entries(GROUPS)) {
    if (groups?.[name]?.length) panels.push(errorTable(title, { genre: "Genre", decade: "Decade", rating: "Stars" }[name] ?? "Ratings", groups[name]));
  }
  byId("errors-panels").replaceChildren(...panels);
}

/** @param {any} found */
function showLists({ model, data, lists }) {
  byId("lists-lead").textContent = `The lists of ${lists.k} of ${counted(lists.users, "user")} hold ${counted(lists.listed, "different movie")}, ${percent(lists.listed / data.movies, 1)} of the catalogue. `
    + `The 1 % most rated movies have ${percent(lists.popularity[0].ratings)} of the ratings and ${percent(lists.popularity[0].places)} of the places.`;
  const most = Math.max(...lists.popularity.flatMap((row) => [row.ratings, row.places]), 1e-9);
  const panels = [
    panel("Whose places they are", h("p", {}, h("span", { class: "key", "aria-hidden": "true" }), "ratings ", h("span", { class: "key second", "aria-hidden": "true" }), "places in lists, by movies from the most rated down"),
      table("Shares of ratings and of places in lists by popularity", [
        { title: "Movies", cell: (row) => row.name }, { title: "", kind: "bars", cell: (row) => [bar(row.ratings / most), bar(row.places / most, "second")] },
        { title: "Ratings", cell: (row) => percent(row.ratings, 1) }, { title: "Places", cell: (row) => percent(row.places, 1) }], lists.popularity)),
    counts("How often movies are listed", "Lists with it", "Movies", lists.histogram),
    panel("Listed most", table("Movies listed most", [
      { title: "Movie", kind: "words", cell: (row) => [titleOf(row), row.year ? ` (${row.year})` : ""] },
      { title: "Lists", cell: (row) => percent(row.lists / lists.users) }, { title: "Ratings", cell: (row) => count(row.ratings) },
      { title: "Mean", cell: (row) => fixed(row.mean, 2) }], lists.most)),
  ];
  if (model.list_measures) {
    const rows = Object.entries(model.list_measures).map(([name, found]) => ({ name, ...found }));
    panels.push(panel("By order and wish, on test ratings", table("Measures of lists by order and wish", [
      { title: "Lists", cell: (row) => row.name }, ...LISTS.map(([name, title, digits]) => ({ title, cell: (row) => fixed(row[name], digits) }))], rows, (row) => (row.name === "default" ? "own" : null))));
  }
  byId("lists-panels").replaceChildren(...panels);
}

/** @param {any} board */
function showBoard(board) {
  if (!board) {
    byId("leaderboard-lead").replaceChildren("No bench results are given. ", h("code", { text: "reelgraph bench … --out DIR" }), " makes some, ", h("code", { text: "reelgraph serve … --bench DIR" }), " shows them here.");
    return;
  }
  byId("leaderboard-lead").textContent = `Mean of each method’s runs with the half width of its 95 % interval, the lowest RMSE first; measured ${board.date ?? "at an unknown time"}${board.machine ? ` on ${board.machine}` : ""}.`;
  const cell = (/** @type {any} */ row, /** @type {any} */ { name, digits }) => fixed(row[name], digits)
    + (row[name] !== null && row[`${name}_half`] !== null && !name.endsWith("seconds") && name !== "memory_gb" ? ` ± ${fixed(row[`${name}_half`], digits)}` : "");
  byId("leaderboard-panels").replaceChildren(...[...new Set(board.rows.map((row) => row.dataset))].map((dataset) => panel(dataset, table(`Methods on ${dataset}`, [
    { title: "Method", cell: (row) => (row.failed && !row.runs ? `${row.method}: failed` : row.method) }, { title: "Runs", cell: (row) => row.runs },
    ...board.columns.map((column) => ({ title: column.title, cell: (row) => cell(row, column) }))],
  board.rows.filter((row) => row.dataset === dataset), (row) => (row.method.startsWith("residual") ? "own" : null)))));
}

/** One model's list. @param {string} title @param {any} side @param {boolean} two */
function sideOf(title, side, two) {
  const about = `Made ${day(side.artifact.created)}, id ${side.artifact.id.slice(0, 12)}`;
  if (!side.known) return panel(title, h("p", { text: about }), none("This model does not know the user."));
  const columns = [
    { title: "Rank", cell: (row) => row.rank }, { title: "Movie", kind: "words", cell: (row) => [titleOf(row), h("small", { class: "none", text: ` ${factsOf(row)}` })] },
    { title: "Stars", cell: (row) => fixed(row.prediction, 2) },
    ...two ? [{ title: "In the other", cell: (row) => (row.elsewhere === null ? "–" : h("span", { class: "badge", text: row.elsewhere })) }] : [],
  ];
  return panel(title, h("p", { text: `${about}; ${counted(side.ratings, "rating")} of the user.` }), table(title, columns, side.movies));
}

/** @param {SubmitEvent} event */
async function compare(event) {
  event.preventDefault();
  const user = byId("user").value.trim(), said = byId("compare-said");
  if (!user) return;
  try {
    const found = await ask(`api/insights/compare?${new URLSearchParams({ user, k: byId("k").value })}`);
    said.textContent = found.shared === null ? `User ${user}.` : `User ${user}: ${found.shared} of ${Math.min(found.serving.movies.length, found.other.movies.length)} movies are in both lists.`;
    byId("compare-lists").replaceChildren(sideOf("In service", found.serving, found.shared !== null), ...found.other ? [sideOf("The other model", found.other, found.shared !== null)] : []);
  } catch (error) {
    byId("compare-lists").replaceChildren();
    said.textContent = error.code === "unknown_id" ? `No model here knows a user ${user}.` : error.message;
  }
}

/** @param {any} other */
function offerCompare(other) {
  const [split, errors] = other ? judged(other) : ["", {}];
  byId("compare-lead").replaceChildren(...other
    ? [`The model in service beside a ${other.kind} model made ${day(other.artifact.created)}${errors.model ? ` (${split} RMSE ${fixed(errors.model.rmse, 4)})` : ""}, for one user of their training data.`]
    : ["What the model lists for a user of its training data. ", h("code", { text: "reelgraph serve … --compare DIR" }), " shows a second model’s list beside it."]);
  byId("ask").addEventListener("submit", compare);
}

async function start() {
  themeButton(byId("theme"));
  try {
    const found = await ask("api/insights");
    showOpening(found);
    offerCompare(found.other);
    showData(found.data);
    const lines = curves(found.history);
    byId("training-panels").replaceChildren(...lines.length ? lines : [none("The model has no training history.")]);
    showErrors(found);
    showLists(found);
    showBoard(found.leaderboard);
    byId("sections").hidden = byId("contents").hidden = false;
  } catch (error) {
    byId("about").textContent = "";
    byId("state").replaceChildren(h("div", { class: "state" }, h("h2", { text: "Nothing to show yet" }), h("p", { text: error.code ? error.message : "The server cannot be reached." }),
      h("button", { type: "button", class: "button", text: "Try again", onclick: () => location.reload() })));
  }
}

start();
