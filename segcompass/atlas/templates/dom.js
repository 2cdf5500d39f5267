"use strict";
// Elements, numbers and pictures. Text is only ever written as text.
const ATLAS = JSON.parse(document.getElementById("data").textContent);
const UNKNOWN = "not measured";

function el(tag, given = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (name === "style") Object.assign(made.style, value);
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter(child => child !== null && child !== undefined));
  return made;
}

// Text of unknown direction keeps its order to itself.
const alien = text => el("bdi", {}, String(text));
const number = (value, digits = 3) => value === null || value === undefined ? "–" : Number(value.toPrecision(digits)).toString().replace("-", "−");
const share = value => value === null || value === undefined ? "–" : value > 0 && value < 0.001 ? "< 0.1 %" : `${number(Number((100 * value).toFixed(1)))} %`;
const spread = values => !values ? UNKNOWN
  : number(values[0]) + (values[1] === null ? " (too few images for an interval)" : ` [${number(values[1])}, ${number(values[2])}]`);

function plain(headings, rows, label) {
  const head = el("tr", {}, headings.map(text => el("th", {scope: "col"}, text)));
  const body = rows.map(row => el("tr", {}, row.map(cell => el("td", {}, cell))));
  return el("div", {class: "scroll"}, el("table", {class: "plain", "aria-label": label}, el("thead", {}, head), el("tbody", {}, body)));
}

const CROP = 92, CONTEXT = 1.25;

// A window on a picture: the patch with its surroundings, outlined.
function crop(patch, words) {
  const [place, x0, y0, x1, y1] = patch;
  const {uri, size: [height, width]} = ATLAS.pictures[place];
  const side = Math.min(Math.max(x1 - x0, y1 - y0) * (1 + 2 * CONTEXT), height, width);
  const left = Math.min(Math.max((x0 + x1 - side) / 2, 0), width - side), top = Math.min(Math.max((y0 + y1 - side) / 2, 0), height - side);
  const scale = CROP / side, px = value => `${value * scale}px`;
  return el("span", {class: "crop"},
    el("img", {src: uri, alt: words, style: {width: px(width), height: px(height), left: px(-left), top: px(-top)}}),
    el("i", {"aria-hidden": "true", style: {left: px(x0 - left), top: px(y0 - top), width: px(x1 - x0), height: px(y1 - y0)}}));
}

function layers(uri, over, words) {
  return el("span", {class: "layers"}, el("img", {src: uri, alt: words}), over);
}

const conceptLink = id => el("a", {href: `#concept=${id}`}, `${id} ${nameOf(id)}`.trim());
// A concept is named by the value that it tells best where it tells it at all, else by its strongest word.
const TELLS = 0.7;
const tells = concept => concept.best !== null && concept.best[2] >= TELLS;
const byId = new Map(ATLAS.concepts.map(concept => [concept.id, concept]));

function nameOf(id) {
  const concept = byId.get(id);
  if (!concept) return "";
  if (tells(concept)) return concept.best[1];
  return concept.words.length ? `“${concept.words[0][0].slice(0, 40)}”` : "";
}
