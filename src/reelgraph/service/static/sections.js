/** The sections of the /insights page: one function per section turns the service's facts into panels. */

import { bar, curve, marks, panel, table } from "./charts.js";
import { h } from "./dom.js";
import { count, counted, date, exact, factsOf, fixed, percent, titleOf } from "./format.js";

const PREDICTORS = {
  mean: "mean rating",
  popularity: "popularity",
  bias: "damped biases",
  untimed: "this model, without the time of rating",
  model: "this model",
};
const GROUPS = {
  movie_ratings: ["By the movie’s training ratings", "Ratings"],
  user_ratings: ["By the user’s training ratings", "Ratings"],
  rating: ["By rating given", "Stars"],
  genre: ["By genre", "Genre"],
  decade: ["By decade of the movie", "Decade"],
};
/** @type {[string, string, number][]} measure, title, digits */
const MEASURES = [
  ["ndcg", "nDCG@10", 4],
  ["recall", "Recall@20", 4],
  ["precision", "Precision@10", 4],
  ["average_precision", "MAP@10", 4],
  ["reciprocal_rank", "MRR@10", 4],
  ["hit_rate", "Hit rate@10", 4],
  ["coverage", "Coverage", 3],
  ["novelty", "Novelty, bits", 2],
  ["diversity", "Diversity", 3],
  ["popularity", "Mean ratings", 0],
];
const FEW = 30; // Groups of fewer ratings get a pale bar.

/** The ratings a model is tested on, and its errors on them. @param {any} model @returns {[string, any]} */
export function testedSplit(model) {
  return model.metrics.test ? ["test", model.metrics.test] : ["validation", model.metrics.valid ?? {}];
}

/** @param {any} facts @returns {{about: string, tiles: HTMLElement[]}} */
export function opening({ model, data }) {
  const [split, errors] = testedSplit(model);
  const lists = model.list_measures?.default;
  const { created, since, id } = model.artifact;
  const changes = Object.entries(model.changes ?? {}).map(([what, number]) => `${count(number)} ${what}`);
  const about = [
    `A ${model.kind} model, made ${date(created)}`,
    model.seconds ? ` in ${fixed(model.seconds, 0)} s` : "",
    model.seed === null ? "" : ` with seed ${model.seed}`,
    since ? `, serving since ${since.replace("T", " ").replace("Z", " UTC")}` : "",
    `. Id ${id.slice(0, 12)}.`,
    changes.length ? ` Changed after training (${changes.join(", ")}); the errors were measured before that.` : "",
  ];
  const error = (/** @type {string} */ name, /** @type {string} */ key) => [
    `${name}, ${split}`,
    fixed(errors.model[key], 4),
    errors.bias && `damped biases ${fixed(errors.bias[key], 4)}`,
  ];
  const hasErrors = errors.model && "rmse" in errors.model;
  const tiles = [
    ["Movies", count(data.movies)],
    ["Users", count(data.users)],
    [data.scale ? "Training ratings" : "Likes or views", count(data.ratings)],
    ...(hasErrors ? [error("RMSE", "rmse"), error("MAE", "mae")] : []),
    ...(lists ? [["nDCG@10", fixed(lists.ndcg, 4), `lists of ${count(lists.users)} users`]] : []),
  ];
  return {
    about: about.join(""),
    tiles: tiles.map(([name, value, note]) =>
      h("div", {}, h("dt", { text: name }), h("dd", {}, value, note && h("small", { text: note }))),
    ),
  };
}

/** A table behind a disclosure, for charts. @param {...any} args of `table` */
const asTable = (...args) =>
  h("details", {}, h("summary", { text: "Show as a table" }), table(.../** @type {[any, any, any]} */ (args)));

/**
 * A bar chart of counts, as a table.
 * @param {string} title
 * @param {string} name heading of the groups
 * @param {string} unit what is counted
 * @param {{name: string, number: number}[]} rows
 */
function histogram(title, name, unit, rows) {
  const most = Math.max(...rows.map((row) => row.number), 1);
  return panel(
    title,
    table(
      title,
      [
        { title: name, cell: (row) => row.name },
        { title: "", kind: "bars", cell: (row) => bar(row.number / most) },
        { title: unit, cell: (row) => count(row.number) },
      ],
      rows,
    ),
  );
}

/** @param {any} data */
export function dataSummary({ counts, split, scale, sources, ratings }) {
  const names = { train: "training", valid: "validation", test: "test" };
  const parts = Object.entries(names).filter(([name]) => counts[name]);
  const numbers = parts.map(([name, title]) => `${count(counts[name])} ${title}`).join(", ");
  const step = scale?.step ? ` in steps of ${exact(scale.step)}` : "";
  return [
    sources.length && `From ${sources.join(", ")}.`,
    scale
      ? `Ratings from ${exact(scale.low)} to ${exact(scale.high)} stars${step}.`
      : "Likes, views or counts of a user and a movie, each pair once.",
    parts.length && `${split.kind ? `A ${split.kind} split` : "Split"} into ${numbers} ${scale ? "ratings" : "pairs"}.`,
    counts.rejected && `${counted(counts.rejected, "row")} rejected.`,
    counts.valid &&
      ratings === counts.train + counts.valid &&
      `The final model was trained on training and validation ${scale ? "ratings" : "pairs"} together.`,
  ]
    .filter(Boolean)
    .join(" ");
}

/** @param {any} data */
export function dataPanels(data) {
  const [name, title] = data.scale ? ["ratings", "Ratings"] : ["movies", "Movies"];
  return [
    ...(data.scale ? [histogram("Ratings by stars", "Stars", "Ratings", data.values)] : []),
    histogram(`Users by number of ${name}`, title, "Users", data.user_ratings),
    histogram(`Movies by number of ${data.scale ? "ratings" : "users"}`, data.scale ? "Ratings" : "Users", "Movies", data.movie_ratings),
  ];
}

/** @type {[string, string, string, string, (a: number, b: number) => boolean][]} phase, column, title, axis, better */
const CURVES = [
  ["fit", "valid_rmse", "Predicted stars: validation RMSE", "RMSE", (a, b) => a < b],
  ["rank fit", "valid_ndcg", "Lists: validation nDCG@10", "nDCG@10", (a, b) => a > b],
];

/** @param {any[]} history */
export function curvePanels(history) {
  return CURVES.flatMap(([phase, column, title, y, better]) => {
    const rows = history.filter((row) => row.phase === phase && row[column] !== null);
    if (!rows.length) return [];
    const best = rows.reduce((kept, row) => (better(row[column], kept[column]) ? row : kept));
    /** @type {[number, number][]} */
    const points = rows.map((row) => [row.step, Number(row[column].toFixed(4))]);
    const [step, value] = points[0];
    const label = `${title} by step: ${value} at step ${step}, best ${fixed(best[column], 4)} at step ${best.step}.`;
    return [
      panel(
        title,
        h("p", { text: `Best: ${fixed(best[column], 4)} at step ${best.step}.` }),
        curve(label, { x: "step", y }, points, { best: [best.step, Number(best[column].toFixed(4))] }),
        asTable(
          title,
          [
            { title: "Step", cell: (row) => row.step },
            { title: y, cell: (row) => fixed(row[column], 4) },
            { title: "Loss", cell: (row) => fixed(row.loss, 4) },
            { title: "Seconds", cell: (row) => fixed(row.seconds, 1) },
          ],
          rows,
        ),
      ),
    ];
  });
}

/** The settings that training tried. @param {any[]} tuning */
export function tuningPanel(tuning) {
  if (!tuning.length) return [];
  const title = "Settings tried";
  return [
    panel(
      title,
      h("p", { text: "Validation error is RMSE for predicted stars and 1 − nDCG@10 for lists." }),
      table(
        title,
        [
          { title: "Model for", cell: (row) => row.target },
          { title: "Setting", kind: "words", cell: (row) => row.change },
          { title: "Validation error", cell: (row) => fixed(row.valid_error, 4) },
          { title: "Steps", cell: (row) => count(row.steps) },
          { title: "Outcome", cell: (row) => row.outcome },
        ],
        tuning,
        (row) => (row.outcome === "kept" ? "own" : null),
      ),
    ),
  ];
}

/** @param {any} facts */
export function errorsSummary({ groups, data }) {
  if (!data.scale)
    return "This model predicts no stars: its lists are measured beside those of the most popular movies.";
  return groups
    ? "In stars, on test ratings. Bias is the mean prediction minus the mean rating. " +
        `Marks show the RMSE. Pale ones are groups of fewer than ${FEW} ratings.`
    : "In stars. Errors by group need test ratings: train with --test or with a test share, " +
        "or use reelgraph report --test.";
}

/** @param {string} split @param {any} errors by predictor */
function predictorPanel(split, errors) {
  const rows = Object.keys(PREDICTORS)
    .filter((name) => errors[name])
    .map((name) => ({ name, ...errors[name] }));
  const [first, second] = "rmse" in errors.model ? ["rmse", "mae"] : ["ndcg", "recall"];
  const what = first === "rmse" ? "ratings" : "pairs";
  const title = split === "test" ? `Test ${what}` : `Validation ${what}`;
  const name = (/** @type {string} */ measure) =>
    MEASURES.find(([key]) => key === measure)?.[1] ?? measure.toUpperCase();
  const columns = [
    { title: "Predictor", kind: "words", cell: (row) => PREDICTORS[row.name] },
    marks(rows, (row) => row[first], (row) => (row.name === "model" ? "" : "dim")),
    { title: name(first), cell: (row) => fixed(row[first], 4) },
    { title: name(second), cell: (row) => fixed(row[second], 4) },
  ];
  return panel(
    title,
    table(title, columns, rows, (row) => (row.name === "model" ? "own" : null)),
  );
}

/** @param {any[]} bands ratings grouped by predicted stars */
function calibrationPanel(bands) {
  const title = "Predicted and actual stars";
  /** @type {[number, number][]} */
  const points = bands.map((band) => [Number(band.predicted.toFixed(3)), Number(band.actual.toFixed(3))]);
  const [first, last] = [points[0], points[points.length - 1]];
  const label = `Mean rating by mean predicted stars: ${first[1]} at ${first[0]}, ${last[1]} at ${last[0]}.`;
  return panel(
    title,
    h("p", { text: "Ten groups by predicted stars. On the dashed line predictions are right on average." }),
    curve(label, { x: "mean predicted", y: "mean actual" }, points, { even: true }),
    asTable(
      title,
      [
        { title: "Predicted", cell: (row) => row.name },
        { title: "Mean predicted", cell: (row) => fixed(row.predicted, 3) },
        { title: "Mean actual", cell: (row) => fixed(row.actual, 3) },
        { title: "Ratings", cell: (row) => count(row.pairs) },
      ],
      bands,
    ),
  );
}

/** @param {string} title @param {string} name heading of the groups @param {any[]} rows */
function groupPanel(title, name, rows) {
  const columns = [
    { title: name, cell: (row) => row.name },
    marks(rows, (row) => row.rmse, (row) => (row.pairs < FEW ? "dim" : "")),
    { title: "RMSE", cell: (row) => fixed(row.rmse, 3) },
    { title: "MAE", cell: (row) => fixed(row.mae, 3) },
    { title: "Bias", cell: (row) => fixed(row.predicted - row.actual, 2) },
    { title: "Tested", cell: (row) => count(row.pairs) },
  ];
  return panel(title, table(title, columns, rows));
}

/** @param {any} facts */
export function errorPanels({ model, groups }) {
  const panels = Object.entries(model.metrics).map(([split, errors]) => predictorPanel(split, errors));
  if (groups?.calibration?.length > 1) panels.push(calibrationPanel(groups.calibration));
  for (const [key, [title, name]] of Object.entries(GROUPS)) {
    if (groups?.[key]?.length) panels.push(groupPanel(title, name, groups[key]));
  }
  return panels;
}

/** @param {any} facts */
export function listsSummary({ data, lists }) {
  const top = lists.popularity[0];
  return (
    `The lists of ${lists.k} movies for ${counted(lists.users, "user")} ` +
    `contain ${counted(lists.listed, "different movie")}, ${percent(lists.listed / data.movies, 1)} of the catalogue. ` +
    `The most rated 1 % of movies have ${percent(top.ratings)} of all ratings ` +
    `and ${percent(top.places)} of the places in lists.`
  );
}

/** @param {any[]} rows */
function popularityPanel(rows) {
  const most = Math.max(...rows.flatMap((row) => [row.ratings, row.places]), 1e-9);
  const key = (/** @type {string} */ kind) => h("span", { class: `key ${kind}`, "aria-hidden": "true" });
  const columns = [
    { title: "Movies", cell: (row) => row.name },
    { title: "", kind: "bars", cell: (row) => [bar(row.ratings / most), bar(row.places / most, "second")] },
    { title: "Ratings", cell: (row) => percent(row.ratings, 1) },
    { title: "Places", cell: (row) => percent(row.places, 1) },
  ];
  return panel(
    "Popularity",
    h(
      "p",
      {},
      key(""),
      "share of ratings ",
      key("second"),
      "share of places in lists; movies from most to least rated",
    ),
    table("Shares of ratings and of places in lists by popularity", columns, rows),
  );
}

/** List measures by order and option. @param {any} measures */
function measuresPanel({ default: standard, ...lists }) {
  const title = "List quality by order and option";
  const own = ["order best", "order blend", "order rank"].find((name) => name in lists);
  const diverse = lists["diversity 0.3"];
  const change = diverse && standard.ndcg ? diverse.ndcg - standard.ndcg : null;
  const cost =
    change === null
      ? ""
      : ` A diversity of 0.3 changes nDCG@10 by ${signedFixed(change, 4)}` +
        ` (${signedFixed((100 * change) / standard.ndcg, 1)} %) and the mean distance between two movies of a list` +
        ` from ${fixed(standard.diversity, 3)} to ${fixed(diverse.diversity, 3)}.`;
  const columns = [
    { title: "Lists", cell: (row) => (row.name === own ? `${own} (default)` : row.name) },
    ...MEASURES.map(([name, title, digits]) => ({ title, cell: (row) => fixed(row[name], digits) })),
  ];
  const rows = Object.entries(lists).map(([name, row]) => ({ name, ...row }));
  const lead =
    `For ${counted(standard.users, "user")} with a liked movie in the test ratings` +
    ("order stars" in lists ? " (4 of 5 stars or the same share of another scale)." : ".") +
    ` Lists come from the whole catalogue, without the movies the user has rated.${cost}`;
  const element = panel(
    title,
    h("p", { text: lead }),
    table(title, columns, rows, (row) => (row.name === own ? "own" : null)),
  );
  element.classList.add("wide");
  return element;
}

/** @param {number} number @param {number} digits */
const signedFixed = (number, digits) => `${number < 0 ? "−" : "+"}${fixed(Math.abs(number), digits)}`;

/** @param {any} facts */
export function listPanels({ model, data, lists }) {
  const columns = [
    { title: "Movie", kind: "words", cell: (row) => [titleOf(row), row.year ? ` (${row.year})` : ""] },
    { title: "Lists", cell: (row) => percent(row.lists / lists.users) },
    { title: data.scale ? "Ratings" : "Users", cell: (row) => count(row.ratings) },
    ...(data.scale ? [{ title: "Mean", cell: (row) => fixed(row.mean, 2) }] : []),
  ];
  return [
    popularityPanel(lists.popularity),
    histogram("Movies by number of lists", "Lists", "Movies", lists.histogram),
    panel("Most recommended", table("Most recommended movies", columns, lists.most)),
    ...(model.list_measures ? [measuresPanel(model.list_measures)] : []),
  ];
}

/** How well explanations and similar movies hold up. @param {any} facts */
export function reasonPanels({ reasons, similar }) {
  const panels = [];
  if (reasons && Object.keys(reasons).length) {
    const title = "Effect of the strongest reasons";
    const units = { prediction: "predicted stars", ranking: "ranking score" };
    const rows = Object.entries(reasons).map(([name, row]) => ({ name: units[name] ?? name, ...row }));
    panels.push(
      panel(
        title,
        h("p", {
          text:
            "Mean change of a prediction when the three ratings that contribute most are removed, and when three " +
            "random ratings are removed. Good explanations name ratings that matter more than random ones.",
        }),
        table(
          title,
          [
            { title: "Change of", kind: "words", cell: (row) => row.name },
            { title: "Strongest", cell: (row) => fixed(row.top, 3) },
            { title: "Random", cell: (row) => fixed(row.random, 3) },
            { title: "Tested", cell: (row) => count(row.pairs) },
          ],
          rows,
        ),
      ),
    );
  }
  if (similar) {
    const title = "Similar movies";
    const names = { similar: "ten most similar", random: "ten random", popular: "ten most popular" };
    const rows = Object.entries(similar).map(([name, row]) => ({ name: names[name] ?? name, ...row }));
    panels.push(
      panel(
        title,
        h("p", {
          text:
            "How many of the movies share a genre with the movie they are shown for, and how many times more users " +
            "rated both than if tastes were independent.",
        }),
        table(
          title,
          [
            { title: "Movies", kind: "words", cell: (row) => row.name },
            { title: "Share a genre", cell: (row) => (row.genre === null ? "–" : percent(row.genre, 1)) },
            { title: "Co-rating lift", cell: (row) => fixed(row.lift, 2) },
          ],
          rows,
          (row) => (row.name === names.similar ? "own" : null),
        ),
      ),
    );
  }
  return panels;
}

/** @param {any} cold */
export function coldSummary({ users, ratings, movies }) {
  const lead =
    `The model is trained without ${counted(users, "user")}, then given some of their ratings, ` +
    `and tested on ${count(ratings)} others (all after each user’s first 20).`;
  if (!movies) return lead;
  return (
    `${lead} ${counted(movies.movies, "movie")} without ratings, predicted from side features alone: ` +
    `RMSE ${fixed(movies.rmse, 4)} (user biases ${fixed(movies.bias_rmse, 4)}), ` +
    `nDCG@10 among these movies ${fixed(movies.ndcg, 3)} (random order ${fixed(movies.random_ndcg, 3)}).`
  );
}

/** @param {any} cold */
export function coldPanels({ curve: points }) {
  const line = (/** @type {string} */ name) => points.map((point) => [point.revealed, Number(point[name].toFixed(4))]);
  const [first, last] = [points[0], points[points.length - 1]];
  const describe = (/** @type {string} */ name) =>
    `${fixed(first[name], 4)} with ${first.revealed} ratings, ${fixed(last[name], 4)} with ${last.revealed}`;
  const key = (/** @type {string} */ kind) => h("span", { class: `key ${kind}`, "aria-hidden": "true" });
  const errors = "Error by number of known ratings";
  const lists = "List quality by number of known ratings";
  const columns = [
    { title: "Known ratings", cell: (row) => row.revealed },
    { title: "RMSE", cell: (row) => fixed(row.rmse, 4) },
    { title: "RMSE of damped biases", cell: (row) => fixed(row.bias_rmse, 4) },
    { title: "nDCG@10", cell: (row) => fixed(row.ndcg, 4) },
  ];
  return [
    panel(
      errors,
      h("p", {}, key(""), "this model ", key("second"), "damped biases"),
      curve(
        `RMSE: ${describe("rmse")}. Damped biases: ${describe("bias_rmse")}.`,
        { x: "known ratings", y: "RMSE" },
        line("rmse"),
        {
          second: line("bias_rmse"),
        },
      ),
      asTable(errors, columns, points),
    ),
    panel(lists, curve(`nDCG@10: ${describe("ndcg")}.`, { x: "known ratings", y: "nDCG@10" }, line("ndcg"))),
  ];
}

/** The lead and the panels of bench results. @param {any} board or null @returns {[any, HTMLElement[]]} */
export function leaderboard(board) {
  if (!board) {
    const [bench, serve] = ["reelgraph bench … --out DIR", "reelgraph serve … --bench DIR"].map((text) =>
      h("code", { text }),
    );
    return [["No bench results. Run ", bench, ", then ", serve, " to show them here."], []];
  }
  const machine = board.machine ? ` on ${board.machine}` : "";
  const lead =
    "Mean over each method’s runs ± half the width of the 95 % confidence interval, lowest RMSE first. " +
    `Measured ${board.date ?? "at an unknown time"}${machine}.`;
  const cell = (/** @type {any} */ row, /** @type {any} */ { name, digits }) => {
    const half = row[`${name}_half`];
    const exactEnough = name.endsWith("seconds") || name === "memory_gb" || row[name] === null || half === null;
    return fixed(row[name], digits) + (exactEnough ? "" : ` ± ${fixed(half, digits)}`);
  };
  const columns = [
    { title: "Method", cell: (row) => (row.failed && !row.runs ? `${row.method}: failed` : row.method) },
    { title: "Runs", cell: (row) => row.runs },
    ...board.columns.map((column) => ({ title: column.title, cell: (row) => cell(row, column) })),
  ];
  const mark = (/** @type {any} */ row) => (row.method.startsWith("residual") ? "own" : null);
  const datasets = [...new Set(board.rows.map((row) => row.dataset))];
  const panels = datasets.map((dataset) => {
    const rows = board.rows.filter((row) => row.dataset === dataset);
    return panel(dataset, table(`Methods on ${dataset}`, columns, rows, mark));
  });
  return [lead, panels];
}

/** What the service learned from visitors. @param {any} learning @returns {[any, HTMLElement[]]} */
export function learningRounds({ state, next, rounds }) {
  if (state === "off" && !rounds.length) {
    const command = h("code", { text: "reelgraph serve … --learn-every 1h" });
    return [["The model does not learn from the ratings given here. To let it: ", command, "."], []];
  }
  const time = (/** @type {string} */ text) => text.replace("T", " ").slice(0, 16);
  const coming = next?.at ? `The next ${next.refit ? "training" : "update"} begins at ${time(next.at)} (UTC).` : "";
  const lead = state === "learning" ? "A round of learning is running." : state === "off" ? "Learning is off." : coming;
  const both = (/** @type {any} */ row, /** @type {string} */ name) => {
    const found = row.measures?.[name];
    return found ? `${fixed(found.service, 4)} → ${fixed(found.candidate, 4)}` : "–";
  };
  const columns = [
    { title: "Ended (UTC)", cell: (row) => time(row.ended) },
    { title: "Kind", kind: "words", cell: (row) => (row.kind === "refit" ? "training" : "update") },
    { title: "Outcome", kind: "words", cell: (row) => h("span", { text: row.outcome, title: row.why }) },
    { title: "New ratings", cell: (row) => row.new === undefined ? "–" : count(row.new) },
    { title: "RMSE", cell: (row) => both(row, "rmse") },
    { title: "nDCG", cell: (row) => both(row, "ndcg") },
  ];
  const name = "Latest rounds, on the newest ratings before and after";
  return [lead, rounds.length ? [panel(name, table(name, columns, rounds.slice(0, 10)))] : []];
}
