// Routes, table, filters and keys.
const $ = id => document.getElementById(id);
const dark = matchMedia("(prefers-color-scheme: dark)");
let table, shown = {view: "overview"};

function route() {
  const given = new Map(location.hash.slice(1).split("&").map(part => part.split("=")));
  const whole = key => given.has(key) && /^\d+$/.test(given.get(key)) ? Number(given.get(key)) : null;
  if (given.has("sample")) return {view: "sample", sample: whole("sample") ?? -1, concept: whole("concept")};
  if (given.has("concept")) return {view: "concept", concept: whole("concept") ?? -1};
  return {view: given.has("about") ? "about" : given.has("swaps") ? "swaps" : "overview"};
}

function show() {
  shown = route();
  const main = document.querySelector("main"), detail = $("detail");
  if (main.className !== shown.view) {
    main.className = shown.view;
    window.dispatchEvent(new Event("resize"));
    window.scrollTo(0, 0);
  }
  for (const link of document.querySelectorAll("nav a")) {
    const own = link.dataset.view === shown.view || (link.dataset.view === "overview" && shown.view === "concept");
    own ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  }
  let drawn = [];
  if (shown.view === "concept") {
    const made = conceptView(shown.concept);
    detail.replaceChildren(...made.nodes.filter(node => node));
    drawn = made.drawn;
  } else if (shown.view === "sample") detail.replaceChildren(...sampleView(shown.sample, shown.concept).filter(node => node));
  else if (shown.view === "swaps") detail.replaceChildren(...swapsView().filter(node => node));
  else if (shown.view === "about") detail.replaceChildren(...aboutView().filter(node => node));
  else detail.replaceChildren();
  mark();
  for (const draw of drawn) draw();
}

function mark() {
  for (const row of document.querySelectorAll("#table tbody tr.chosen")) row.classList.remove("chosen");
  if (shown.view === "concept" && table) {
    const node = table.row(`#c${shown.concept}`).node();
    if (node) node.classList.add("chosen");
  }
}

function listed() {
  return table.rows({search: "applied", order: "applied"}).data().toArray().map(row => row.id);
}

function step(by) {
  if (shown.view === "sample") {
    const next = Math.min(Math.max(shown.sample + by, 0), ATLAS.samples.length - 1);
    location.hash = `#sample=${next}`;
    return;
  }
  const ids = listed(), at = ids.indexOf(shown.concept);
  if (!ids.length) return;
  const next = ids[at < 0 ? 0 : Math.min(Math.max(at + by, 0), ids.length - 1)];
  const page = Math.floor(ids.indexOf(next) / table.page.len());
  if (table.page() !== page) table.page(page).draw("page");
  location.hash = `#concept=${next}`;
}

function rowOf(concept) {
  return {
    id: concept.id, attribute: concept.best ? concept.best[0] : "", value: concept.best ? concept.best[1] : "", auroc: concept.best ? concept.best[2] : null,
    words: concept.words.slice(0, 3).map(word => word[0].slice(0, 40)).join(" · "), density: concept.density.all,
    fall: concept.effect ? concept.effect.fall[0] : null, low: concept.effect ? concept.effect.fall[1] : null,
    high: concept.effect ? concept.effect.fall[2] : null, samples: concept.effect ? concept.effect.samples : 0, DT_RowId: `c${concept.id}`,
  };
}

function makeTable() {
  const text = DataTable.render.text().display, numeric = (digits = 3) => (value, kind) => kind === "display" ? number(value, digits) : kind === "filter" ? "" : value ?? (kind === "sort" ? -Infinity : "");
  const purity = Object.keys(ATLAS.attributes).length > 0;
  const columns = [
    {data: "id", title: "id"}, {data: "value", title: "best", render: text, visible: purity}, {data: "attribute", title: "attribute", render: text, visible: purity, className: "wide"},
    {data: "auroc", title: "AUROC", render: numeric(), visible: purity}, {data: "words", title: "words", render: text, className: purity ? "wide" : ""},
    {data: "density", title: "density", render: (value, kind) => kind === "display" ? share(value) : kind === "filter" ? "" : value}, {data: "fall", title: "effect", render: numeric(2)},
    ...["low", "high", "samples"].map(end => ({data: end, title: `effect ${end}`, render: numeric(), visible: false})),
  ];
  table = new DataTable("#table", {
    data: ATLAS.concepts.map(rowOf), columns, deferRender: true, pageLength: 15, lengthChange: false, autoWidth: false, order: [[ATLAS.run ? 6 : purity ? 3 : 5, "desc"]],
    layout: {topStart: {buttons: [{extend: "csvHtml5", text: "CSV", filename: `concepts_${ATLAS.study}_${ATLAS.sae}`, exportOptions: {orthogonal: "export", modifier: {search: "applied"}}}]}, topEnd: "info", bottomStart: null, bottomEnd: "paging"},
    language: {info: "_TOTAL_ concepts", infoEmpty: "no concept", infoFiltered: "of _MAX_", emptyTable: "no concept fires"},
  });
  $("table").addEventListener("click", event => {
    const row = event.target.closest("tbody tr");
    if (row && row.id) location.hash = `#concept=${row.id.slice(1)}`;
  });
  table.on("draw", mark);
}

function makeFilters() {
  const names = Object.keys(ATLAS.attributes);
  $("attribute").append(el("option", {value: ""}, "any"), ...names.map(name => el("option", {value: name}, name)));
  $("attribute").parentElement.hidden = !names.length;
  const colours = [...(names.length ? [["attribute", "best attribute"], ["value", "best value"]] : []), ["density", "density"], ...(ATLAS.run ? [["fall", "effect"]] : [])];
  $("colour").append(...colours.map(([value, words]) => el("option", {value}, words)));
  $("measured").parentElement.hidden = !ATLAS.run;
  const filter = () => {
    const attribute = $("attribute").value, measured = $("measured").checked;
    table.search($("search").value);
    table.search.fixed("atlas", (_, row) => (!attribute || row.attribute === attribute) && (!measured || row.fall !== null));
    table.draw();
  };
  $("search").addEventListener("input", () => { if (["sample", "swaps", "about"].includes(shown.view)) location.hash = "#overview"; filter(); });
  for (const name of ["attribute", "measured"]) $(name).addEventListener("change", filter);
  $("colour").addEventListener("change", paint);
}

function paint() {
  document.documentElement.classList.toggle("dark", dark.matches);
  drawMap($("map"), $("colour").value, id => { location.hash = `#concept=${id}`; });
}

document.addEventListener("keydown", event => {
  const typing = event.target.matches("input, select, textarea");
  if (event.key === "Escape") {
    if (typing) { $("search").value = ""; $("search").dispatchEvent(new Event("input")); event.target.blur(); } else location.hash = "#overview";
  } else if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  else if (event.key === "/") { event.preventDefault(); $("search").focus(); }
  else if (event.key === "j" || event.key === "ArrowRight") step(1);
  else if (event.key === "k" || event.key === "ArrowLeft") step(-1);
});
makeTable();
makeFilters();
paint();
show();
window.addEventListener("hashchange", show);
dark.addEventListener("change", () => { paint(); show(); });
