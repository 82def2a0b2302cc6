// Puts it together: one drawing for all that has come in since the last one.
const state = new State();
let chosen = null;
let near = null;
let drawn = false;

const choose = (key) => {
  chosen = key;
  draw();
};
const map = new WorldMap(byId("map"), choose);
const nodeTable = new Table(byId("node-table"), "NetServ nodes", nodeColumns(choose), () =>
  state.parts.nodes.size ? "No node fits the search." : "No NetServ node has been found yet. They appear here by themselves.",
  (key) => state.fresh.has(key));
const ringTable = new Table(byId("ring-table"), "Neighbours on the ring", RING_COLUMNS, () => "No other node is known yet.");
const serviceTable = new Table(byId("service-table"), "Services exported and imported", SERVICE_COLUMNS, () =>
  state.parts.services.size ? "No service fits the search." : "z2z exports and imports nothing here yet.",
  (key) => state.fresh.has(key));

const fits = (item, text) => !text || JSON.stringify(item).toLowerCase().includes(text.toLowerCase());
const kinds = (part) => [...state.parts[part].values()];
const keyed = (part) => [...state.parts[part]].map(([key, item]) => ({ ...item, key }));

function drawNodes() {
  const all = mergedNodes(state.parts, near);
  offerChoices(byId("node-block"), [...new Set(all.flatMap((node) => node.blocks.map((block) => block.name)))].sort(), "any");
  const block = byId("node-block").value;
  const text = byId("node-search").value;
  const nodes = all.filter((node) => fits(node, text) && (!block || node.blocks.some((each) => each.name === block)));
  byId("count-nodes").textContent = all.length;
  nodeTable.draw(nodes, chosen);
  map.draw(nodes, near, chosen);
  nodeDetails(byId("node-details"), all.find((node) => node.key === chosen));
}

function drawOverlay() {
  const subnets = kinds("subnets");
  const networks = [...new Set(subnets.map((subnet) => subnet.network))].sort();
  offerChoices(byId("network"), networks);
  byId("network-label").hidden = networks.length < 2;
  const shown = mergedSubnets(subnets.filter((subnet) => subnet.network === byId("network").value));
  const nodes = ringNodes(shown);
  byId("count-subnets").textContent = new Set(subnets.map((subnet) => subnet.node).filter(Boolean)).size;
  drawRing(byId("ring"), nodes);
  byId("subnets").replaceChildren(...(shown.length ? shown.map(subnetCard)
    : [el("p", { class: "quiet", text: state.parts.sources.get("mdht")?.why ?? "No node of the overlay runs here." })]));
  ringTable.draw(nodes.filter((each) => !each.own).map((each) => ({ ...each, key: each.node })));
}

function drawServices() {
  const services = keyed("services");
  const role = byId("service-role").value;
  const text = byId("service-search").value;
  const count = (state) => services.filter((each) => each.state === state).length;
  byId("count-exported").textContent = count("exported");
  byId("count-imported").textContent = count("imported");
  byId("programs").replaceChildren(...kinds("programs").map(programLine));
  serviceTable.draw(services.filter((each) => (!role || each.role === role) && fits(each, text)));
}

function drawLog() {
  byId("changes").replaceChildren(...state.log.map(({ at, text }) =>
    el("li", {}, el("time", { datetime: at.toISOString(), text: at.toLocaleTimeString() }), text)));
  byId("sources").replaceChildren(...kinds("sources").sort((one, other) => compare(one.title, other.title)).map(sourceLine));
}

function draw() {
  if (drawn) return;
  drawn = true;
  requestAnimationFrame(() => {
    drawn = false;
    drawNodes();
    drawOverlay();
    drawServices();
    drawLog();
  });
}

function takeNear() {
  const place = parsePlace(byId("near").value);
  byId("near").setAttribute("aria-invalid", String(place === undefined));
  if (place === undefined) return;
  near = place;
  draw();
}

let settled = false;
state.onChange = () => {
  byId("host").textContent = state.settings.host ?? "";
  if (!settled && state.settings.near) {
    byId("near").value = `${state.settings.near.latitude},${state.settings.near.longitude}`;
    takeNear();
  }
  settled = true;
  draw();
};
state.onLive = (live) => {
  byId("live").textContent = live ? "live" : "not connected, trying again";
  byId("live").className = live ? "pill good" : "pill bad";
};
for (const id of ["node-search", "node-block", "network", "service-search", "service-role"]) byId(id).addEventListener("input", draw);
byId("near").addEventListener("input", takeNear);

// The theme stays on this machine; where nothing can be kept, it lasts as long as the page.
const kept = (() => {
  try { return localStorage; } catch { return null; }
})();
function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  byId("theme").value = theme;
}
setTheme(["light", "dark"].includes(kept?.getItem("theme")) ? kept.getItem("theme") : "");
byId("theme").addEventListener("input", (event) => {
  setTheme(event.target.value);
  kept?.setItem("theme", event.target.value);
});

state.connect();
