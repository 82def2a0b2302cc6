// What the server tells: the whole picture when the stream begins, then what changes. A stream that ends begins again.
const RETRY_MS = 2000;
const LOG_MAX = 200;
const FRESH_MS = 3000;

class State {
  constructor() {
    this.parts = { nodes: new Map(), subnets: new Map(), programs: new Map(), services: new Map(), sources: new Map() };
    this.settings = {};
    this.log = [];
    this.fresh = new Set(); // keys of what has just come
    this.onChange = () => {};
    this.onLive = () => {};
  }

  /** Follow the server for as long as the page is open. */
  connect() {
    const stream = new EventSource("/events");
    stream.addEventListener("open", () => this.onLive(true));
    stream.addEventListener("whole", (event) => this.guarded(stream, () => this.takeWhole(JSON.parse(event.data))));
    stream.addEventListener("change", (event) => this.guarded(stream, () => this.takeChange(JSON.parse(event.data))));
    stream.addEventListener("error", () => {
      this.onLive(false);
      // The browser tries again by itself, but not after a refusal.
      if (stream.readyState === EventSource.CLOSED) setTimeout(() => this.connect(), RETRY_MS);
    });
  }

  /** Begin anew where an event is none. */
  guarded(stream, take) {
    try {
      take();
    } catch (error) {
      console.error(error);
      stream.close();
      this.onLive(false);
      setTimeout(() => this.connect(), RETRY_MS);
    }
  }

  takeWhole(data) {
    this.settings = data.settings;
    const again = this.log.length > 0;
    for (const [name, part] of Object.entries(this.parts)) {
      const now = new Map(Object.entries(data.parts[name] ?? {}));
      if (again) {
        for (const [key, item] of now) this.note(name, part.get(key), item);
        for (const [key, item] of part) if (!now.has(key)) this.note(name, item, undefined);
      }
      part.clear();
      for (const [key, item] of now) part.set(key, item);
    }
    if (!again) this.say("the page shows what there is");
    this.onChange();
  }

  takeChange(data) {
    for (const [name, items] of Object.entries(data.set)) {
      for (const [key, item] of Object.entries(items)) {
        if (!this.parts[name]?.has(key)) {
          this.fresh.add(key);
          setTimeout(() => this.fresh.delete(key), FRESH_MS);
        }
        this.note(name, this.parts[name]?.get(key), item);
        this.parts[name]?.set(key, item);
      }
    }
    for (const [name, keys] of Object.entries(data.gone)) {
      for (const key of keys) {
        this.note(name, this.parts[name]?.get(key), undefined);
        this.parts[name]?.delete(key);
      }
    }
    this.onChange();
  }

  note(name, before, after) {
    for (const text of NEWS[name]?.(before, after) ?? []) this.say(text);
  }

  say(text) {
    this.log.unshift({ at: new Date(), text });
    this.log.length = Math.min(this.log.length, LOG_MAX);
  }
}

/** What people want to know of a change: `before` or `after` is missing for what has come or gone. */
const NEWS = {
  nodes(before, after) {
    const of = after ?? before;
    const where = of.way === "link" ? `on ${of.interface}` : "in the DHT";
    if (!before) return [`NetServ node ${of.name} found ${where}`];
    if (!after) return [`NetServ node ${of.name} gone ${where}`];
    const [old, now] = [before, after].map((node) => node.blocks.map(offerText).join(", "));
    return old === now ? [] : [`NetServ node ${of.name} ${where}: blocks ${now || "none"}`];
  },
  subnets(before, after) {
    const name = subnetName(after ?? before);
    if (!before) return [`${name}: this machine is a host of it`];
    if (!after) return [`${name}: this machine is no host of it any more`];
    const news = [];
    const came = after.members.filter((each) => !before.members.includes(each));
    const left = before.members.filter((each) => !after.members.includes(each));
    if (came.length) news.push(`${name}: ${came.join(", ")} joined`);
    if (left.length) news.push(`${name}: ${left.join(", ")} left`);
    const ring = (subnet) => new Map(subnet.ring.map((each) => [each.node, each.address || shortId(each.node)]));
    const [old, now] = [ring(before), ring(after)];
    for (const [node, text] of now) if (!old.has(node)) news.push(`ring: neighbour ${text} found`);
    for (const [node, text] of old) if (!now.has(node)) news.push(`ring: neighbour ${text} gone`);
    if (before.role !== after.role) news.push(`${name}: ${after.role} of the overlay`);
    return news;
  },
  programs(before, after) {
    if (before && after) return [];
    return [`z2z ${(after ?? before).pid} of site ${(after ?? before).site} ${after ? "runs" : "has ended"}`];
  },
  services(before, after) {
    const of = after ?? before;
    const name = `${of.role} of ${of.shown_as || of.service} (${of.service_type})`;
    if (!after) return [`${name}: ended`];
    return before?.state === after.state ? [] : [`${name}: ${after.state}${after.reason ? `, ${after.reason}` : ""}`];
  },
};

const subnetName = (subnet) => `subnet ${subnet.subnet || "(none yet)"} of ${subnet.network}`;
