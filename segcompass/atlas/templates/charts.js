// Vega-Lite specifications, in the colours of the page.
const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function chart(target, spec, words) {
  const ink = css("--ink"), quiet = css("--quiet"), line = css("--line");
  const axis = {labelColor: quiet, titleColor: quiet, gridColor: line, domainColor: line, tickColor: line, titleFontWeight: "normal"};
  const config = {background: "transparent", view: {stroke: null}, axis, legend: {labelColor: ink, titleColor: quiet}, title: {color: ink}};
  // Vega gives the chart's element its role, and the description as its name.
  const whole = {$schema: "https://vega.github.io/schema/vega-lite/v5.json", description: words, width: "container", autosize: {type: typeof spec.height === "number" ? "fit" : "fit-x", contains: "padding"}, config, ...spec};
  // The interpreter of expressions needs no code from strings, which the page's policy forbids.
  return vegaEmbed(target, whole, {actions: false, ast: true, renderer: "svg", tooltip: true});
}

const PALETTE = {scheme: "tableau20"};

const NONE = `none (AUROC below ${TELLS})`;
const COLOURS = ["#4c78a8", "#f58518", "#54a24b", "#e45756", "#b279a2", "#72b7b2", "#eeca3b", "#ff9da6", "#9d755d"];

function drawMap(target, colour, choose) {
  const attributes = Object.keys(ATLAS.attributes);
  const values = ATLAS.concepts.map(concept => ({
    id: concept.id, x: concept.xy[0], y: concept.xy[1], name: nameOf(concept.id) || "–",
    attribute: tells(concept) ? concept.best[0] : NONE, density: concept.density.all,
    value: tells(concept) ? concept.best[1] : NONE,
    fall: concept.effect ? concept.effect.fall[0] : null,
  })).sort((a, b) => (a.attribute !== NONE) - (b.attribute !== NONE));
  const kinds = {
    attribute: {field: "attribute", type: "nominal", scale: {domain: [...attributes, NONE], range: [...COLOURS.slice(0, attributes.length), css("--line")]}, title: "best attribute"},
    value: {field: "value", type: "nominal", scale: PALETTE, title: "best value", legend: null},
    density: {field: "density", type: "quantitative", scale: {type: "sqrt", scheme: "viridis"}, title: "density"},
    fall: {field: "fall", type: "quantitative", scale: {scheme: "blueorange", domainMid: 0}, title: "fall of score"},
  };
  const axis = place => ({title: `component ${place + 1} (${share(ATLAS.axes[place])} of the variance)`, labels: false, ticks: false, grid: false});
  const spec = {
    height: 300, data: {values}, params: [{name: "zoom", select: "interval", bind: "scales"}],
    mark: {type: "point", filled: true, size: 34, opacity: 0.8, cursor: "pointer"},
    encoding: {
      x: {field: "x", type: "quantitative", axis: axis(0)}, y: {field: "y", type: "quantitative", axis: axis(1)}, color: kinds[colour],
      tooltip: [{field: "id", title: "concept"}, {field: "name"}, {field: "attribute"}, {field: "density", format: ".2%"}],
    },
  };
  if (colour !== "value") spec.encoding.color.legend = {orient: "bottom", columns: 3, title: null};
  return chart(target, spec, "Map of concepts: principal components of decoder rows")
    .then(result => { result.view.addEventListener("click", (_, item) => { if (item && item.datum && item.datum.id !== undefined) choose(item.datum.id); }); return result; });
}

function histogram(target, concept) {
  const width = concept.max / concept.histogram.length;
  const values = concept.histogram.map((count, bin) => ({from: bin * width, to: (bin + 1) * width, count}));
  return chart(target, {
    height: 130, data: {values}, mark: {type: "bar", color: css("--accent")},
    encoding: {
      x: {field: "from", type: "quantitative", bin: {binned: true, step: width || 1}, title: "activation"}, x2: {field: "to"},
      y: {field: "count", type: "quantitative", scale: {type: "symlog"}, stack: null, title: "tokens"}, tooltip: [{field: "from", format: ".3g"}, {field: "to", format: ".3g"}, {field: "count"}],
    },
  }, `Histogram of the positive activations of concept ${concept.id}`);
}

function densities(target, concept) {
  const values = Object.entries(concept.density).map(([kind, value]) => ({kind, value}));
  return chart(target, {
    height: 130, data: {values}, mark: {type: "bar", color: css("--accent")},
    encoding: {y: {field: "kind", type: "nominal", sort: null, title: null}, x: {field: "value", type: "quantitative", axis: {format: "%", tickCount: 4}, title: "share of tokens that fire"},
      tooltip: [{field: "kind"}, {field: "value", format: ".2%"}]},
  }, `Firing density of concept ${concept.id} on each kind of token`);
}

function purities(target, concept) {
  const names = {auroc: "this concept", shuffled: "labels shuffled", untrained: "best untrained"};
  const values = concept.purity.flatMap(row => Object.entries(names).map(([field, who]) => ({attribute: `${row.attribute}: ${row.value}`, who, auroc: row[field]})));
  return chart(target, {
    height: 40 * concept.purity.length, data: {values: values.filter(row => row.auroc !== null)},
    layer: [
      {data: {values: [{half: 0.5}]}, mark: {type: "rule", strokeDash: [3, 3], color: css("--quiet")}, encoding: {x: {field: "half", type: "quantitative"}}},
      {mark: {type: "point", filled: true, size: 90, opacity: 0.9}, encoding: {
        y: {field: "attribute", type: "nominal", sort: null, title: null}, x: {field: "auroc", type: "quantitative", scale: {zero: false}, axis: {tickCount: 6}, title: "AUROC on val"},
        color: {field: "who", type: "nominal", scale: {domain: Object.values(names), range: [css("--mark"), css("--quiet"), css("--accent")]}, legend: {orient: "bottom", title: null, columns: 2}},
        shape: {field: "who", type: "nominal", scale: {domain: Object.values(names), range: ["circle", "cross", "triangle-up"]}},
        tooltip: [{field: "attribute"}, {field: "who"}, {field: "auroc", format: ".3f"}]}},
    ],
  }, `Purity of concept ${concept.id} for every attribute beside its twins`);
}

function doseCurve(target, concept) {
  const effect = concept.effect, values = [{dose: 0, mean: -effect.fall[0], low: effect.fall[2] === null ? null : -effect.fall[2], high: effect.fall[1] === null ? null : -effect.fall[1]}, {dose: 1, mean: 0, low: 0, high: 0}];
  for (const [name, found] of Object.entries(effect)) if (name.startsWith("dose_")) values.push({dose: Number(name.slice(5)), mean: found[0], low: found[1], high: found[2]});
  values.sort((a, b) => a.dose - b.dose);
  const x = {field: "dose", type: "quantitative", title: "factor on the concept's codes"};
  return chart(target, {
    height: 150, data: {values}, layer: [
      {transform: [{filter: "isValid(datum.low)"}], mark: {type: "area", opacity: 0.25, color: css("--accent")}, encoding: {x, y: {field: "low", type: "quantitative", title: "change of the score"}, y2: {field: "high"}}},
      {mark: {type: "line", point: true, color: css("--accent")}, encoding: {x, y: {field: "mean", type: "quantitative"}, tooltip: [{field: "dose"}, {field: "mean", format: ".3g"}, {field: "low", format: ".3g"}, {field: "high", format: ".3g"}]}},
    ],
  }, `Dose curve of concept ${concept.id}: change of the score by the factor on its codes`);
}
