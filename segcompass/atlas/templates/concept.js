// One concept.
const PATHS = {visual: "visual tokens", instruction: "instruction", thought: "thought"};

function crops(patches, title, note, concept) {
  if (!patches.length) return [el("h3", {}, title), el("p", {class: "note"}, "none")];
  const shown = patches.map(patch => {
    const [place, , , , , activation, quantile] = patch, what = patch[7] || "";
    const words = `Patch of ${ATLAS.pictures[place].name}${what ? ": " + what : ""}; activation of concept ${concept.id}: ${number(activation)}`;
    return el("figure", {}, crop(patch, words), el("figcaption", {}, number(activation), quantile ? ` · q ${quantile.toFixed(2)}` : "", what ? el("br") : null, what ? alien(what) : null));
  });
  return [el("h3", {}, title), el("p", {class: "note"}, note), el("div", {class: "crops"}, shown)];
}

function fact(label, value) {
  return el("div", {class: "fact"}, el("span", {class: "quiet"}, label), el("b", {}, value));
}

// Why a concept has no measured effect: the rule that chooses those that have one.
function unmeasured() {
  const {effects, run} = ATLAS;
  return !run ? `${UNKNOWN}: no interface reads this dictionary.`
    : `${UNKNOWN}: removing every concept by itself would take hours, so the ${effects.concepts} with the greatest mean absolute contribution over ${effects.samples} samples of each benchmark are measured, and this one is not among them or is active in none of these samples. It may have an effect all the same.`;
}

function effectPart(concept, drawn) {
  const effect = concept.effect;
  const title = el("h3", {}, "Exact causal effect of this concept alone");
  const contribution = concept.contribution === null ? null
    : el("p", {class: "note"}, `Mean absolute contribution to a slot's score by the gradient, which is approximate: ${number(concept.contribution)}.`);
  if (!effect) return [title, el("p", {}, unmeasured()), contribution];
  const dose = el("div", {class: "chart"});
  drawn.push(() => doseCurve(dose, concept));
  const rows = [["fall of the slot's score when it is removed", spread(effect.fall)], ["mean change of the mask's probabilities", spread(effect.change)],
    ...Object.entries(PATHS).map(([kind, words]) => [`fall when it is removed from the ${words} alone`, spread(effect["fall_" + kind])])];
  return [title,
    el("p", {class: "note"}, `Removed in ${effect.samples} samples of ${effect.images} images in which it is active; ${100 * ATLAS.level} % intervals over images, of one run (${ATLAS.run.variant}, seed ${ATLAS.run.seed}).`),
    el("div", {class: "charts"}, plain(["measure", "mean"], rows, "Exact effects"), dose), contribution];
}

function swapPart(concept) {
  const title = el("h3", {}, "Swap success");
  const attribute = concept.best && concept.best[0];
  const rows = ATLAS.battery.filter(row => row.intervention === "swap" && row.measure === "cause" && row.at === attribute);
  if (!rows.length) return [title, el("p", {}, UNKNOWN)];
  return [title, el("p", {class: "note"}, `Swaps exchange all chosen concepts of an attribute between counterfactual pairs, never one alone: these are the figures of ${attribute}, the attribute that this concept tells best. Share of pairs whose mask moves to the other target.`),
    plain(["exchanged", "success", "pairs"], rows.map(row => [row.arm.replaceAll("_", " "), spread([row.mean, row.low, row.high]), row.samples]), "Swap success")];
}

// Mean over the concepts of the page of the greatest cosine in another dictionary.
const meanMatch = place => ATLAS.concepts.reduce((sum, concept) => sum + concept.match[place][2], 0) / ATLAS.concepts.length;

function resembles(concept) {
  const near = concept.near.map(([id, cosine]) => el("li", {}, conceptLink(id), ` ${number(cosine)}`));
  const rows = concept.match.map(([place, id, cosine]) => [ATLAS.dictionaries[place].name, ATLAS.dictionaries[place].kind, id, number(cosine), number(meanMatch(place))]);
  return [el("h3", {}, "Nearest concepts"), el("p", {class: "note"}, "By the cosine between decoder rows."), el("ul", {class: "words"}, near),
    el("h3", {}, "Match in other dictionaries"),
    rows.length ? [el("p", {class: "note"}, "The row with the greatest cosine in every other dictionary of the layer: other sparsities, widths and architectures. All of them are drawn from the study’s one seed, so a common number may mean a common start. A study trains each dictionary once, so there is none of another seed, and how concepts match across seeds is not measured. What an untrained one reaches is chance. Mean: over all concepts of this page, of the same cosine."), plain(["dictionary", "kind", "concept", "cosine", "mean"], rows, "Matches in other dictionaries")]
      : el("p", {}, "The study has no other dictionary at this layer.")];
}

function conceptView(id) {
  const concept = byId.get(id), drawn = [];
  if (!concept) return {nodes: [el("h2", {}, `Concept ${id}`), el("p", {}, id >= 0 && id < ATLAS.width ? "Not shown: it never fires on these tokens, or others fire more." : "There is no such concept.")], drawn};
  const density = el("div", {class: "chart"}), activation = el("div", {class: "chart"}), purity = el("div", {class: "chart"});
  drawn.push(() => histogram(activation, concept), () => densities(density, concept));
  if (concept.purity.length) drawn.push(() => purities(purity, concept));
  const best = concept.best;
  const words = concept.words.map(([word, activation, part, occurrences]) =>
    el("li", {title: `fires on ${share(part)} of ${occurrences} occurrences`}, alien(word), el("span", {class: "quiet"}, ` ${number(activation)}`)));
  const samples = ATLAS.samples.map((sample, place) => [place, sample]).filter(([, sample]) => sample.slots.some(slot => slot.carriers.some(one => one.concept === id)))
    .map(([place]) => el("li", {}, el("a", {href: `#sample=${place}&concept=${id}`}, `sample ${place}`)));
  const nodes = [
    el("div", {class: "steps"}, el("a", {href: "#overview"}, "all concepts"), el("button", {onclick: () => step(-1), "aria-label": "previous concept"}, "← k"), el("button", {onclick: () => step(1), "aria-label": "next concept"}, "j →")),
    el("h2", {}, `Concept ${id} `, el("span", {class: "quiet"}, alien(nameOf(id)))),
    el("div", {class: "facts"},
      best ? fact("best attribute", `${best[0]}: ${best[1]}`) : null, best ? fact("purity (AUROC on val)", number(best[2])) : null,
      fact("density", share(concept.density.all)), concept.mono === null ? null : fact("monosemanticity", number(concept.mono)),
      fact("removing it lowers the score by", concept.effect ? number(concept.effect.fall[0]) : UNKNOWN)),
    ...crops(concept.top, "Top patches", "Strongest activations on val, one picture each while there are others.", concept),
    ...crops(concept.drawn, "Patches of every quantile", "Drawn at random, one from each equal part of its positive activations (q: share that is not greater).", concept),
    ...crops(concept.silent, "Negatives", "Silent patches whose hidden states are most like those of the top ones.", concept),
    el("h3", {}, "Top words"), el("p", {class: "note"}, "By mean activation over all occurrences in prompts and thoughts."), words.length ? el("ul", {class: "words"}, words) : el("p", {}, "It fires on no word."),
    el("div", {class: "charts"}, el("div", {}, el("h3", {}, "Activations"), activation), el("div", {}, el("h3", {}, "Density"), density)),
    concept.purity.length ? [el("h3", {}, "Purity"), el("p", {class: "note"}, "Per attribute the value that it tells best on train. Shuffled: the same with permuted labels, the value chosen anew. Untrained: the untrained dictionary's best concept for that value."), purity] : [],
    effectPart(concept, drawn), swapPart(concept), resembles(concept),
    el("h3", {}, "Samples that it carries"), samples.length ? el("ul", {class: "words"}, samples) : el("p", {class: "quiet"}, "None of those shown."),
  ];
  return {nodes: nodes.flat(2), drawn};
}
