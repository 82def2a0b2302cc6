// NetMonitor: the nodes of a path, each with its rate over the last minutes, and the flows that they have counted.
const POINTS = 120;
const state = new State();
state.parts.hops = new Map();
state.parts.flows = new Map();
const rates = new Map(); // of each node, the latest last
let drawn = false;

const number = (value) => value.toLocaleString(undefined, { maximumFractionDigits: 1 });
const perSecond = (value) => `${number(value)}/s`;

/** Where a flow was seen, in the order of the path: `node1 ttl 63`. */
function places(flow) {
  const order = (at) => state.parts.hops.get(`net-monitor/${at.node}`)?.position ?? Infinity;
  return [...flow.at].sort((one, other) => order(one) - order(other))
    .map((at) => `${at.node}: TTL ${at.ttl}, ${number(at.packets)}${at.per_second ? `, ${perSecond(at.per_second)}` : ""}`);
}

const flowTable = new Table(byId("flow-table"), "Flows", [
  { title: "Packets/s", number: true, value: (flow) => -flow.per_second, cell: (flow) => number(flow.per_second) },
  { title: "Packets", number: true, value: (flow) => -flow.packets, cell: (flow) => number(flow.packets) },
  { title: "Source", value: (flow) => flow.source, cell: (flow) => flow.source },
  { title: "Destination", value: (flow) => flow.destination, cell: (flow) => flow.destination },
  { title: "Seen at", value: (flow) => flow.at.length, cell: (flow) => tags(places(flow)) },
], () => (state.parts.flows.size ? "No flow fits the search." : "No packet has been counted yet."),
(key) => state.fresh.has(key));

/** The rate of a node as a line; the highest of what is shown is its top. */
function curve(points) {
  const most = Math.max(1, ...points);
  const text = points.map((rate, at) => `${POINTS - points.length + at},${(40 - (38 * rate) / most).toFixed(1)}`).join(" ");
  return svg("svg", { viewBox: `0 0 ${POINTS - 1} 40`, preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("polyline", { class: "rate", points: text }));
}

function hopCard(hop) {
  return el("li", { class: hop.reports ? "hop" : "hop bad" },
    el("h3", { text: hop.node }),
    el("div", { class: "quiet", text: `${hop.address}, ${hop.state}` }),
    el("div", {}, el("b", { text: perSecond(hop.per_second) }), ` ${number(hop.packets)} packets`),
    curve(rates.get(hop.node) ?? []));
}

function remember() {
  for (const hop of state.parts.hops.values()) {
    const points = rates.get(hop.node) ?? [];
    points.push(hop.per_second);
    if (points.length > POINTS) points.shift();
    rates.set(hop.node, points);
  }
  for (const node of rates.keys()) if (![...state.parts.hops.values()].some((hop) => hop.node === node)) rates.delete(node);
}

function draw() {
  if (drawn) return;
  drawn = true;
  requestAnimationFrame(() => {
    drawn = false;
    const text = byId("search").value.toLowerCase();
    const flows = [...state.parts.flows].map(([key, flow]) => ({ ...flow, key }))
      .filter((flow) => `${flow.source} ${flow.destination}`.toLowerCase().includes(text));
    byId("toward").textContent = `toward ${state.settings.toward ?? ""}`;
    byId("why").textContent = [...state.parts.sources.values()].map((source) => source.why).join("; ");
    byId("count").textContent = many(flows.length, "flow");
    byId("hops").replaceChildren(...[...state.parts.hops.values()].sort((one, other) => one.position - other.position).map(hopCard));
    flowTable.draw(flows);
  });
}

state.onChange = draw;
state.onLive = (live) => {
  byId("live").textContent = live ? "live" : "not connected, trying again";
  byId("live").className = live ? "pill good" : "pill bad";
};
byId("search").addEventListener("input", draw);
setInterval(() => {
  remember();
  draw();
}, 1000);
state.connect();
