// One sample; `chosen` is the concept whose activation colours words and patches.
function pairsOf(flat) {
  const found = new Map();
  for (let place = 0; flat && place < flat.length; place += 2) found.set(flat[place], flat[place + 1]);
  return found;
}

function tokens(sample, kind, chosen) {
  const on = pairsOf(sample.in_words[chosen]), most = Math.max(1e-9, ...on.values());
  return el("p", {class: "text", dir: "auto"}, sample.words.map(([text, own], place) => {
    if (own !== kind) return null;
    const activation = on.get(place);
    const [, space, word] = /^(\s*)([^]*)$/.exec(text);
    return [space, el("span", activation === undefined ? {class: "token"} : {class: "token", title: `activation ${number(activation)}`, style: {background: `rgba(var(--warm), ${0.15 + 0.6 * activation / most})`}}, word)];
  }).flat());
}

function patchLayer(sample, chosen) {
  const on = pairsOf(sample.in_patches[chosen]), most = Math.max(1e-9, ...on.values()), [height, width] = sample.size;
  return [...on].map(([place, activation]) => {
    const [x0, y0, x1, y1] = sample.boxes[place], part = (value, whole) => `${100 * value / whole}%`;
    return el("i", {style: {left: part(x0, width), top: part(y0, height), width: part(x1 - x0, width), height: part(y1 - y0, height), background: `rgba(var(--warm), ${0.15 + 0.65 * activation / most})`}});
  });
}

function view(sample, over, caption, words) {
  return el("figure", {}, layers(ATLAS.pictures[sample.picture].uri, over, words), el("figcaption", {}, caption));
}

const overlay = (uri, kind) => uri ? el("img", {src: uri, alt: "", class: kind}) : null;

function slotPart(place, sample, slot, chosen) {
  const rows = slot.carriers.map(one => [
    el("a", {href: `#sample=${place}&concept=${one.concept}`, "aria-current": one.concept === chosen ? "true" : null}, `${one.concept} ${nameOf(one.concept)}`.trim()),
    number(one.contribution), number(one.fall), share(one.change), el("a", {href: `#concept=${one.concept}`, "aria-label": `open concept ${one.concept}`}, "open")]);
  const pairs = slot.carriers.filter(one => one.after);
  const several = slot.together.map(one => view(sample, overlay(one.after), `without the ${one.removed} greatest contributors together (IoU with itself ${number(one.iou)}, score −${number(one.fall)})`.replace("−−", "+"), `Mask of slot ${slot.slot} without its ${one.removed} greatest contributors together`));
  return [
    el("h3", {}, `Slot ${slot.slot} `, el("span", {class: "quiet"}, `confidence ${share(slot.confidence)}${slot.leads ? ", leads" : ""}`)),
    el("div", {class: "views"}, view(sample, overlay(slot.heat, "heat"), "heat map", `Heat map of slot ${slot.slot}`), view(sample, overlay(slot.mask), "mask", `Mask of slot ${slot.slot}`),
      pairs.map(one => view(sample, overlay(one.after), `without concept ${one.concept} (${share(one.change)} change)`, `Mask of slot ${slot.slot} without concept ${one.concept}`)), several),
    rows.length ? plain(["carrying concept", "contribution (gradient)", "fall without it (exact)", "change of mask (exact)", ""], rows, `Concepts that carry slot ${slot.slot}`) : null,
  ];
}

function sampleView(place, wanted) {
  const sample = ATLAS.samples[place];
  if (!sample) return [el("h2", {}, "Samples"), el("p", {}, ATLAS.samples.length ? "There is no such sample." : "None: the study's reference interface reads no concepts of this dictionary.")];
  const carriers = sample.slots.filter(slot => slot.leads).flatMap(slot => slot.carriers);
  const chosen = wanted === null ? (carriers.length ? carriers[0].concept : -1) : wanted;
  const options = [...new Set([chosen, ...carriers.map(one => one.concept)])].filter(id => id >= 0).map(id => el("option", {value: id, selected: id === chosen}, `${id} ${nameOf(id)}`));
  return [
    el("div", {class: "steps"}, el("button", {onclick: () => step(-1), "aria-label": "previous sample"}, "← k"), el("button", {onclick: () => step(1), "aria-label": "next sample"}, "j →"),
      el("label", {}, "Concept ", el("select", {id: "painted", onchange: event => { location.hash = `#sample=${place}&concept=${event.target.value}`; }}, options))),
    el("h2", {}, `Sample ${place} `, el("span", {class: "quiet"}, `${sample.benchmark} ${sample.split}, ${ATLAS.samples.length} are shown`)),
    el("p", {class: "quiet"}, alien(sample.sample), sample.status === "ok" ? "" : ` · answer: ${sample.status}`, sample.iou === null ? " · no target" : ` · IoU of the leading slots ${number(sample.iou)}`),
    el("h3", {}, "Instruction"), el("p", {class: "text", dir: "auto", id: "instruction"}, sample.text),
    el("h3", {}, "Prompt"), tokens(sample, "prompt", chosen), el("h3", {}, "Thought"), tokens(sample, "thought", chosen),
    el("p", {class: "note"}, chosen < 0 ? "" : `Words and patches are coloured by the activation of concept ${chosen}, relative to its greatest in this sample.`),
    el("div", {class: "views"}, view(sample, null, "image", `Image of the sample: ${sample.text.slice(0, 200)}`), view(sample, patchLayer(sample, chosen), `patches of concept ${chosen}`, `Patches on which concept ${chosen} fires`),
      sample.target ? view(sample, overlay(sample.target), "target", "Target mask") : null, view(sample, overlay(sample.mask), "mask of the leading slots", "Predicted mask")),
    sample.slots.filter(slot => slot.leads).map(slot => slotPart(place, sample, slot, chosen)),
    el("div", {class: "charts"}, sample.slots.filter(slot => !slot.leads).map(slot => el("div", {}, slotPart(place, sample, slot, chosen)))),
  ].flat(3);
}

// Exchanges between counterfactual pairs: the mask before and after, beside the control's.
const MASKS = {before: "mask before", attribute: "with the other side's concepts", matched: "with as many matched concepts"};

function swapPicture(swap, side, over, caption, words) {
  return el("figure", {}, layers(ATLAS.pictures[swap.pictures[side]].uri, over, words), el("figcaption", {}, caption));
}

function swapsView() {
  const nodes = ATLAS.swaps.map(swap => {
    const [own, other] = swap.values, moved = swap.ious.attribute[1] > swap.ious.attribute[0];
    const masks = Object.keys(MASKS).filter(name => swap.masks[name]).map(name => swapPicture(swap, 0, overlay(swap.masks[name]),
      `${MASKS[name]}: IoU ${number(swap.ious[name][0])} with the own target, ${number(swap.ious[name][1])} with the other`, `${MASKS[name]}, exchange of ${swap.attribute}`));
    return [el("h3", {}, `${swap.attribute}: ${own} to ${other} `, el("span", {class: "quiet"}, moved ? "the mask moves" : "the mask does not move")),
      el("p", {class: "text", dir: "auto"}, alien(swap.texts[0]), el("span", {class: "quiet"}, " with concepts of: "), alien(swap.texts[1])),
      el("div", {class: "views"}, masks, swapPicture(swap, 0, overlay(swap.expected), "where it should go", `The other target, ${other}`), swapPicture(swap, 1, null, "the side that gives concepts", `Image of the giving side: ${swap.texts[1].slice(0, 200)}`)),
      el("p", {class: "note"}, "Exchanged in this pair, heaviest first: ", swap.concepts.slice(0, 8).map((id, place) => [place ? ", " : "", byId.has(id) ? conceptLink(id) : String(id)]).flat(), swap.concepts.length > 8 ? ` and ${swap.concepts.length - 8} more.` : ".")];
  });
  return [el("h2", {}, "Exchanges"), el("p", {}, nodes.length ? "An attribute's concepts are taken from the other side of a counterfactual pair, whose picture differs in that attribute of one object; image, words and slots stay. Thoughts are gold ones. Shown are the first pairs of each attribute in the order of their file, whatever came of them." : "None: this run has exchanged nothing between counterfactual pairs."), ...nodes].flat(3);
}

function aboutView() {
  const {run, study, sae, left_out: left, silent, width} = ATLAS;
  const paths = ATLAS.battery.filter(row => row.intervention !== "swap").map(row => [row.intervention, row.arm.replaceAll("_", " "), (row.at === "reference" ? "reference state r_k" : row.at).replaceAll("_", " "), row.measure.replaceAll("_", " "), spread([row.mean, row.low, row.high]), row.samples]);
  return [
    el("h2", {}, "About this page"),
    el("p", {}, `Study ${study}, dictionary ${sae}: ${width} concepts, of which ${ATLAS.concepts.length} are shown, ${silent} never fire on the scored tokens and ${left} are left out because others fire more.`),
    el("p", {}, run ? `Effects and samples are of the interface ${run.variant}, seed ${run.seed}. ` : "No interface reads this dictionary, so no effect is measured. ", ATLAS.rule),
    el("p", {}, "Densities, purities and words are of the scored tokens of val; test samples are shown, and measured on, alone. A figure that was not measured says so."),
    el("h3", {}, "Keys"), plain(["key", "does"], [["j, → / k, ←", "next / previous concept or sample"], ["/", "search"], ["Esc", "leave the search, or go back to the table"]], "Keys"),
    el("h3", {}, "The causal battery on this run"),
    el("p", {class: "note"}, "Edits of several concepts at once, means over samples of this run. Paths: Shapley values of the four roads into the interface; a concept's own share by kind of token stands with the concept."),
    paths.length ? plain(["intervention", "arm", "at", "measure", "mean", "samples"], paths, "Causal battery") : el("p", {}, UNKNOWN),
  ].flat(2);
}
