// src/recording.ts
var e = [
	"entropy",
	"distance",
	"previous",
	"next",
	"self",
	"first",
	"separator",
	"induction"
], t = (e, t) => e[0] === t[0] && e[1] === t[1] && e[2] === t[2];
function n(e, t) {
	return e.attentions.find((e) => e.name === t) ?? e.attentions[0];
}
function r(e, t, n) {
	if (!e.can.includes(t)) return !1;
	let r = n === void 0 ? void 0 : e.attentions.find(({ name: e }) => e === n)?.can;
	return r === void 0 || r.includes(t);
}
function i(e, t, n) {
	let [r, i] = [e, t].map((e) => e.attentions.find(({ name: e }) => e === n));
	return !r || !i || r.layers !== i.layers || r.heads !== i.heads ? !1 : ["queries", "keys"].every((n) => {
		let [a, o] = [e.sequences[r[n]].tokens, t.sequences[i[n]].tokens];
		return a.length === o.length && 2 * a.filter((e, t) => e.text === o[t].text).length >= a.length;
	});
}
// src/weights/weights.ts
var a = class e {
	rows;
	columns;
	tops;
	shares;
	signs;
	largest = null;
	constructor(e, t, n, r, i = null) {
		this.rows = e, this.columns = t, this.tops = n, this.shares = r, this.signs = i;
	}
	static of(t, n, r, i = !1) {
		let a = new Float32Array(n), o = new Uint8Array(n * r), s = i ? new Uint8Array(n * r) : null;
		for (let e = 0, i = 0; e < n; e++, i += r) {
			let n = 0;
			for (let e = i; e < i + r; e++) n = Math.max(n, Math.abs(t[e]));
			a[e] = n;
			let c = n > 0 ? 255 / n : 0;
			for (let e = i; e < i + r; e++) o[e] = Math.round(Math.abs(t[e]) * c), s && t[e] < 0 && (s[e] = 1);
		}
		return new e(n, r, a, o, s);
	}
	static fromRows(t) {
		let n = t[0]?.length ?? 0, r = new Float32Array(t.length * n);
		return t.forEach((e, t) => r.set(e, t * n)), e.of(r, t.length, n);
	}
	at(e, t) {
		let n = e * this.columns + t, r = this.tops[e] * this.shares[n] / 255;
		return this.signs?.[n] ? -r : r;
	}
	get top() {
		if (this.largest === null) {
			this.largest = 0;
			for (let e of this.tops) e > this.largest && (this.largest = e);
		}
		return this.largest;
	}
	strongest(e, t) {
		let n = [], r = e * this.columns;
		for (let e = 0; e < this.columns; e++) {
			let i = this.shares[r + e];
			if (i === 0 || n.length === t && this.shares[r + n[t - 1]] >= i) continue;
			let a = n.length;
			for (; a > 0 && this.shares[r + n[a - 1]] < i;) a--;
			n.splice(a, 0, e), n.length > t && n.pop();
		}
		return n;
	}
	minus(t) {
		let n = new Float32Array(this.rows * this.columns);
		for (let e = 0, r = 0; e < this.rows; e++) {
			let [i, a] = [this.tops[e] / 255, t.tops[e] / 255];
			for (let e = 0; e < this.columns; e++, r++) n[r] = this.shares[r] * i - t.shares[r] * a;
		}
		return e.of(n, this.rows, this.columns, !0);
	}
}, o = class extends Error {}, s = class extends Error {}, c = 192 * 2 ** 20, l = 32 * 2 ** 20, u = class {
	source;
	blocks = /* @__PURE__ */ new Map();
	sizes = /* @__PURE__ */ new Map();
	constructor(e) {
		this.source = e;
	}
	async head(e, t, n, r) {
		let i = e.sequences[t.queries].tokens.length, a = e.sequences[t.keys].tokens.length, o = t.heads * i * a <= l, s = this.block(e, t, n, o ? void 0 : r);
		return d(await s.bytes, s.heads, o ? r : 0, i, a);
	}
	block(e, t, n, r) {
		let i = JSON.stringify([
			e.id,
			t.name,
			n,
			r
		]), a = this.blocks.get(i);
		if (!a) {
			let o = {
				recording: e.id,
				attention: t.name,
				layer: n
			}, s = this.source.layer(r === void 0 ? o : {
				...o,
				head: r
			});
			a = {
				bytes: s,
				heads: r === void 0 ? t.heads : 1
			}, s.then((e) => this.keep(i, e.byteLength), () => this.blocks.delete(i));
		}
		return this.blocks.delete(i), this.blocks.set(i, a), a;
	}
	keep(e, t) {
		this.sizes.set(e, t);
		let n = 0;
		for (let e of this.blocks.keys()) n += this.sizes.get(e) ?? 0;
		for (let t of this.blocks.keys()) {
			if (n <= c || t === e) break;
			n -= this.sizes.get(t) ?? 0, this.blocks.delete(t), this.sizes.delete(t);
		}
	}
};
function d(e, t, n, r, i) {
	if (e.byteLength !== t * r * (4 + i)) throw new o(`a layer of ${e.byteLength} bytes`);
	return new a(r, i, new Float32Array(e, n * r * 4, r), new Uint8Array(e, t * r * 4 + n * r * i, r * i));
}
// src/desk.ts
var f = class {
	source;
	recordings;
	layers;
	answers = /* @__PURE__ */ new Map();
	grids = /* @__PURE__ */ new WeakMap();
	constructor(e, t) {
		this.source = e, this.recordings = t, this.layers = new u(e);
	}
	get live() {
		return this.source.live;
	}
	recording(e) {
		return this.recordings.find((t) => t.id === e) ?? this.recordings[0];
	}
	ask(e, t) {
		let n = JSON.stringify([e, t]), r = this.answers.get(n);
		return r || (r = this.source.ask(e, t), this.answers.set(n, r), r.catch(() => this.answers.delete(n))), r;
	}
	has(e, t) {
		return this.source.has?.(e, t) ?? !0;
	}
	off(e, t) {
		return this.ask("off", {
			recording: e.id,
			heads: t.map((e) => [...e])
		});
	}
	async weights(e, t) {
		let r = n(e, t.attention), i = {
			recording: e.id,
			attention: r.name
		};
		if (t.what === "rollout") return this.grid(await this.ask("rollout", i));
		if (t.what === "gradient") {
			let e = t.token === null ? { target: t.target } : { token: t.token };
			return this.grid((await this.ask("gradient", {
				...i,
				...e
			})).weights);
		}
		return this.layers.head(e, r, Math.min(t.layer, r.layers - 1), Math.min(t.head, r.heads - 1));
	}
	grid(e) {
		let t = this.grids.get(e);
		return t || this.grids.set(e, t = a.fromRows(e)), t;
	}
}, p = 266, m = 52, h = {
	plus: b(1, .34, .155, p),
	minus: b(1, .42, .125, m)
}, g = {
	plus: b(.222, .94, .15, p),
	minus: b(.222, .9, .12, m)
};
function _(e, t, n = !1) {
	let r = n ? e.minus : e.plus, i = 3 * Math.max(0, Math.min(255, Math.round(t)));
	return [
		r[i],
		r[i + 1],
		r[i + 2]
	];
}
var v = ([e, t, n]) => `rgb(${e} ${t} ${n})`;
function y([e, t, n]) {
	return .2126 * x(e) + .7152 * x(t) + .0722 * x(n) > .179 ? "#10141b" : "#ffffff";
}
function b(e, t, n, r) {
	let i = (i) => ({
		l: e + (t - e) * i,
		c: n * Math.sin(Math.PI * .84 * i),
		h: r
	}), a = 1024, o = /* @__PURE__ */ new Float64Array(1025);
	for (let e = 1; e <= a; e++) {
		let [t, n] = [i((e - 1) / a), i(e / a)];
		o[e] = o[e - 1] + Math.hypot(n.l - t.l, n.c - t.c);
	}
	let s = /* @__PURE__ */ new Uint8Array(768);
	for (let e = 0, t = 0; e < 256; e++) {
		let n = o[a] * e / 255;
		for (; t < a && o[t] < n;) t++;
		s.set(ee(i(t / a)), 3 * e);
	}
	return s.set(e > .5 ? [
		255,
		255,
		255
	] : [
		23,
		27,
		35
	], 0), s;
}
function ee({ l: e, c: t, h: n }) {
	let [r, i] = [t * Math.cos(n * Math.PI / 180), t * Math.sin(n * Math.PI / 180)], a = (e + .3963377774 * r + .2158037573 * i) ** 3, o = (e - .1055613458 * r - .0638541728 * i) ** 3, s = (e - .0894841775 * r - 1.291485548 * i) ** 3;
	return [
		4.0767416621 * a - 3.3077115913 * o + .2309699292 * s,
		-1.2684380046 * a + 2.6097574011 * o - .3413193965 * s,
		-.0041960863 * a - .7034186147 * o + 1.707614701 * s
	].map((e) => Math.round(255 * te(Math.max(0, Math.min(1, e)))));
}
function te(e) {
	return e <= .0031308 ? 12.92 * e : 1.055 * e ** (1 / 2.4) - .055;
}
function x(e) {
	let t = e / 255;
	return t <= .04045 ? t / 12.92 : ((t + .055) / 1.055) ** 2.4;
}
// src/draw/theme.ts
var S = matchMedia("(prefers-color-scheme: dark)");
function ne(e) {
	if (e !== "auto") return e === "dark";
	let { body: t } = document;
	return t.dataset.jpThemeLight === void 0 ? t.dataset.vscodeThemeKind === void 0 ? S.matches : t.dataset.vscodeThemeKind.includes("dark") : t.dataset.jpThemeLight === "false";
}
function re(e) {
	let t = new MutationObserver(e);
	return t.observe(document.body, { attributeFilter: ["data-jp-theme-light", "data-vscode-theme-kind"] }), S.addEventListener("change", e), () => {
		t.disconnect(), S.removeEventListener("change", e);
	};
}
function ie(e, t) {
	let n = getComputedStyle(e), r = (e) => n.getPropertyValue(e).trim();
	return {
		dark: t,
		scale: t ? g : h,
		ground: r("--surface"),
		ink: r("--text"),
		soft: r("--soft"),
		rule: r("--rule"),
		accent: r("--accent"),
		second: r("--second"),
		font: n.fontFamily
	};
}
// src/element.ts
function C(e, t = {}, ...n) {
	let r = document.createElement(e);
	for (let [e, n] of Object.entries(t)) typeof n == "function" ? r.addEventListener(e.slice(2), n) : n === !0 ? r.setAttribute(e, "") : n !== !1 && n != null && r.setAttribute(e, String(n));
	for (let e of n) e && r.append(e);
	return r;
}
var w = class {
	box;
	element;
	shown = "";
	constructor(e, t) {
		this.box = C("select", { onchange: () => t(this.box.value) }), this.element = C("label", { class: "mf-field" }, C("span", {}, e), this.box);
	}
	set(e, t) {
		let n = JSON.stringify(e);
		n !== this.shown && (this.shown = n, this.box.replaceChildren(...e.map(({ value: e, label: t, disabled: n }) => C("option", {
			value: e,
			disabled: n
		}, t)))), this.box.value = t;
	}
}, T = class {
	box;
	element;
	constructor(e, t) {
		this.box = C("input", {
			type: "checkbox",
			onchange: () => t(this.box.checked)
		}), this.element = C("label", { class: "mf-check" }, this.box, C("span", {}, e));
	}
	set(e, t = !1) {
		this.box.checked = e, this.box.disabled = t;
	}
}, E = class {
	element;
	buttons;
	constructor(e, t, n) {
		this.buttons = t.map(({ value: e, label: t }) => C("button", {
			type: "button",
			role: "radio",
			"data-value": e,
			onclick: () => n(e)
		}, t)), this.element = C("div", {
			class: "mf-choices",
			role: "radiogroup",
			"aria-label": e
		}, ...this.buttons), this.element.addEventListener("keydown", (e) => {
			let t = {
				ArrowRight: 1,
				ArrowDown: 1,
				ArrowLeft: -1,
				ArrowUp: -1
			}[e.key];
			if (!t) return;
			e.preventDefault();
			let r = this.buttons.filter(({ disabled: e, hidden: t }) => !e && !t), i = r[(r.findIndex((e) => e.getAttribute("aria-checked") === "true") + t + r.length) % r.length];
			n(i.dataset.value ?? ""), i.focus();
		});
	}
	set(e, t = () => !0) {
		for (let n of this.buttons) {
			let r = n.dataset.value === e;
			n.setAttribute("aria-checked", String(r)), n.tabIndex = r ? 0 : -1, n.hidden = !t(n.dataset.value ?? "");
		}
	}
};
// src/views/cells.ts
function ae(e, t, n, r, i, a) {
	let o = document.createElement("canvas");
	o.width = Math.max(1, i), o.height = Math.max(1, a);
	let s = o.getContext("2d");
	if (!s || i < 1 || a < 1) return o;
	let c = s.createImageData(i, a), l = new Uint32Array(c.data.buffer), [u, d] = [D(t.scale.plus), D(t.scale.minus)];
	for (let t = 0, o = 0; t < a; t++) {
		let a = (r + t) * e.columns + n;
		for (let t = 0; t < i; t++, a++, o++) l[o] = e.signs?.[a] ? d[e.values[a]] : u[e.values[a]];
	}
	return s.putImageData(c, 0, 0), o;
}
var oe = /* @__PURE__ */ new Map();
function D(e) {
	let t = oe.get(e);
	if (!t) {
		let n = /* @__PURE__ */ new Uint8Array(1024);
		for (let t = 0; t < 256; t++) n.set([
			e[3 * t],
			e[3 * t + 1],
			e[3 * t + 2],
			255
		], 4 * t);
		t = new Uint32Array(n.buffer), oe.set(e, t);
	}
	return t;
}
// src/views/view.ts
var O = (e) => {
	let t = Math.abs(e), n = t === 0 || t >= .0995 ? 2 : t >= 95e-5 ? 3 : 4, r = t > 0 && t < 5e-5 ? "<0.0001" : t.toFixed(n);
	return e < 0 ? `−${r}` : r;
}, se = 16;
function ce(e, t, n, r, [i, a, s]) {
	let c = new DataView(e), [l, u, d] = [
		0,
		4,
		8
	].map((e) => c.getUint32(e, !0)), f = c.getFloat32(12, !0), p = [
		n * t * l,
		r * u * l,
		d * n * r
	];
	if (e.byteLength !== se + 2 * (p[0] + p[1] + p[2])) throw new o(`queries and keys of ${e.byteLength} bytes`);
	let m = (e) => le(c.getUint16(se + 2 * e, !0)), h = (e) => Array.from({ length: l }, (t, n) => m(e + n)), g = h((a * t + i) * l), _ = h(p[0] + (s * u + Math.floor(i * u / t)) * l), v = g.map((e, t) => e * _[t]), y = d > 1 ? i : 0, b = d ? m(p[0] + p[1] + (y * n + a) * r + s) : 0;
	return {
		query: g,
		key: _,
		products: v,
		score: v.reduce((e, t) => e + t, 0) * f,
		added: b > -Infinity ? b : null
	};
}
function le(e) {
	let t = e & 32768 ? -1 : 1, n = e >> 10 & 31, r = e & 1023;
	return n === 0 ? t * r * 2 ** -24 : n === 31 ? r ? NaN : t * Infinity : t * (1024 + r) * 2 ** (n - 25);
}
// src/source/embedded.ts
var ue = class {
	live = !1;
	held;
	layers;
	parts;
	weights = new u(this);
	constructor(e) {
		let t = e.querySelector("script[data-recordings]");
		this.held = JSON.parse(t?.textContent ?? "{\"recordings\": []}"), this.layers = de(e, "data-layer"), this.parts = de(e, "data-pairs");
	}
	async ask(e, t) {
		if (e === "recordings") return this.held.recordings;
		if (e === "pair") return await this.pair(t);
		let n = this.find(e, t);
		if (!n) throw new s(e);
		return n[1];
	}
	has(e, t) {
		return this.find(e, t) !== void 0;
	}
	async layer({ recording: e, attention: t, layer: n, head: r }) {
		let i = r === void 0 ? [
			e,
			t,
			n
		] : [
			e,
			t,
			n,
			r
		], a = this.layers.get(JSON.stringify(i));
		if (!a) throw new s(`layer ${n}`);
		return pe(a);
	}
	async pair({ recording: e, attention: t, layer: r, head: i, query: a, key: o }) {
		let c = this.held.recordings.find(({ id: t }) => t === e), l = this.parts.get(JSON.stringify([
			e,
			t,
			r
		]));
		if (!c || !l) throw new s("pair");
		let u = n(c, t), d = [u.queries, u.keys].map((e) => c.sequences[e].tokens.length), f = await this.weights.head(c, u, r, i);
		return {
			...ce(await pe(l), u.heads, d[0], d[1], [
				i,
				a,
				o
			]),
			weight: f.at(a, o)
		};
	}
	find(e, t) {
		let n = fe(t);
		return this.held.answers?.[e]?.find(([e]) => fe(e) === n);
	}
};
function de(e, t) {
	let n = [...e.querySelectorAll(`script[${t}]`)];
	return new Map(n.map((e) => [JSON.stringify(JSON.parse(e.getAttribute(t) ?? "[]")), e]));
}
function fe(e) {
	return JSON.stringify(Object.entries(e).sort(([e], [t]) => e < t ? -1 : 1));
}
function k(e) {
	let t = atob(e), n = new Uint8Array(t.length);
	for (let e = 0; e < t.length; e++) n[e] = t.charCodeAt(e);
	return n;
}
async function pe(e) {
	let t = k((e.textContent ?? "").trim()), n = new Blob([t]).stream().pipeThrough(new DecompressionStream("deflate"));
	return new Response(n).arrayBuffer();
}
// src/panels/order.ts
function me(t, n, r) {
	return [
		"layer",
		...e.filter((e) => t.scores[e]),
		...n ? ["change"] : [],
		...r ? ["difference"] : []
	];
}
function he(e, t, n) {
	return t === "layer" ? null : t === "change" || t === "difference" ? n : e.scores[t] ?? null;
}
function ge(e, t, n) {
	let r = [];
	for (let i = 0; i < e.layers; i++) if (t.onlyLayer === null || t.onlyLayer === i) for (let t = 0; t < e.heads; t++) r.push({
		layer: i,
		head: t,
		score: n?.[i]?.[t] ?? null
	});
	if (!n) return r;
	let i = Math.max(...r.map(({ score: e }) => e ?? 0)), a = (e) => e ?? (t.reverse ? Infinity : -Infinity);
	return r.filter(({ score: e }) => t.atLeast <= 0 || (e ?? 0) >= t.atLeast * i).sort((e, n) => t.reverse ? a(e.score) - a(n.score) : a(n.score) - a(e.score));
}
function A(e) {
	let t = _e.get(e);
	return t || _e.set(e, t = k(e.thumbnail.data)), t;
}
var _e = /* @__PURE__ */ new WeakMap();
function ve(e, t, n) {
	let [r, i] = [e, t].map((e) => e.attentions.find((e) => e.name === n));
	if (!r || !i || r.layers !== i.layers || r.heads !== i.heads || r.thumbnail.size !== i.thumbnail.size) return null;
	let [a, o] = [A(r), A(i)], s = r.thumbnail.size ** 2;
	return Array.from({ length: r.layers }, (e, t) => Array.from({ length: r.heads }, (e, n) => {
		let i = 0, c = (t * r.heads + n) * s;
		for (let e = c; e < c + s; e++) i += Math.abs(a[e] - o[e]);
		return i / s / 255;
	}));
}
// src/panels/heads.ts
var ye = class {
	store;
	words;
	toggle;
	element;
	kinds;
	order;
	layers;
	reverse;
	atLeast = C("input", {
		type: "range",
		min: 0,
		max: 1,
		step: .05,
		value: 0
	});
	slider;
	count = C("p", {
		class: "mf-small",
		"aria-live": "polite"
	});
	grid = C("div", {
		class: "mf-heads",
		role: "grid"
	});
	clickOff;
	hint = C("p", { class: "mf-small mf-hint" });
	cells = /* @__PURE__ */ new Map();
	clicking = !1;
	built = "";
	painted = "";
	arrangement = "";
	shown = [];
	columns = 1;
	focus = [0, 0];
	constructor(e, t, n, r) {
		this.store = e, this.words = t, this.toggle = r;
		let i = n.attentions.map(({ name: e }) => ({
			value: e,
			label: t.attentions[e] ?? e
		}));
		this.kinds = new E(t.attention, i, (t) => e.set({
			attention: t,
			layer: 0,
			head: 0,
			query: null,
			key: null,
			order: "layer"
		})), this.kinds.element.hidden = i.length < 2, this.order = new w(t.order, (t) => e.set({
			order: t,
			atLeast: 0
		})), this.layers = new w(t.layers, (t) => e.set({ onlyLayer: t === "" ? null : Number(t) })), this.reverse = new T(t.reverse, (t) => e.set({ reverse: t })), this.clickOff = new T(t.clickOff, (e) => this.clicking = e), this.atLeast.addEventListener("input", () => e.set({ atLeast: Number(this.atLeast.value) })), this.slider = C("label", { class: "mf-field" }, C("span", {}, t.atLeast), this.atLeast), this.grid.setAttribute("aria-label", t.heads), this.grid.addEventListener("keydown", this.key), this.element = C("section", {
			class: "mf-card mf-headcard",
			"aria-label": t.heads
		}, C("div", { class: "mf-row mf-between" }, C("h2", {}, t.heads), this.count), this.kinds.element, C("div", { class: "mf-row" }, this.order.element, this.layers.element), C("div", { class: "mf-row" }, this.reverse.element, this.slider), this.grid, this.clickOff.element, this.hint);
	}
	show(e, t, i, a, o) {
		let s = n(t, e.attention), { words: c } = this, l = i && ve(t, i, s.name);
		this.kinds.set(s.name);
		let u = me(s, r(t, "effects", s.name), l !== null);
		this.order.set(u.map((e) => ({
			value: e,
			label: c.orders[e]
		})), e.order);
		let d = Array.from({ length: s.layers }, (e, t) => ({
			value: String(t),
			label: String(t)
		}));
		this.layers.set([{
			value: "",
			label: c.allLayers
		}, ...d], e.onlyLayer === null ? "" : String(e.onlyLayer));
		let f = e.order !== "layer";
		this.reverse.set(e.reverse), this.reverse.element.hidden = !f, this.slider.hidden = !f, this.atLeast.value = String(e.atLeast);
		let p = r(t, "off");
		this.clickOff.element.hidden = !p, this.hint.textContent = p ? `${c.headsHint} ${c.headsHintOff}` : c.headsHint, this.build(t, s);
		let m = he(s, e.order, e.order === "change" ? a : l);
		this.shown = ge(s, e, m), this.columns = f ? Math.min(6, this.shown.length || 1) : s.heads, this.count.textContent = e.order === "change" && !a ? c.measuring : c.headsShown(this.shown.length, s.layers * s.heads), this.arrange(e, m), this.paint(t, s, o), this.mark(e);
	}
	build(e, t) {
		let n = `${e.id} ${t.name}`;
		if (n === this.built) return;
		this.built = n, this.painted = this.arrangement = "", this.cells = /* @__PURE__ */ new Map();
		let { size: r } = t.thumbnail;
		for (let e = 0; e < t.layers; e++) for (let n = 0; n < t.heads; n++) {
			let t = C("canvas", {
				width: r,
				height: r,
				"aria-hidden": "true"
			}), i = C("span", { class: "mf-score" }), a = C("button", {
				type: "button",
				role: "gridcell",
				class: "mf-head",
				tabindex: -1,
				"data-head": `${e},${n}`
			}, t, i);
			a.addEventListener("click", (t) => this.open(e, n, t.altKey || this.clicking)), a.addEventListener("focus", () => this.rove(e, n)), this.cells.set(`${e},${n}`, {
				button: a,
				canvas: t,
				score: i
			});
		}
	}
	open(e, t, n) {
		n ? this.toggle([[e, t]]) : this.store.set({
			layer: e,
			head: t,
			what: "head"
		});
	}
	arrange(e, t) {
		let n = `${e.order} ${t !== null} ${this.shown.map(({ layer: e, head: t }) => `${e},${t}`).join(" ")}`;
		if (n === this.arrangement) return;
		this.arrangement = n;
		let r = this.grid.contains(document.activeElement), i = e.order !== "layer";
		this.grid.classList.toggle("mf-sorted", i), this.grid.style.setProperty("--columns", String(this.columns)), this.grid.style.setProperty("--label", i ? "0px" : "1.6em");
		let a = [];
		if (!i) {
			let e = Array.from({ length: this.columns }, (e, t) => C("span", {
				class: "mf-axis",
				role: "columnheader"
			}, String(t)));
			a.push(C("div", {
				class: "mf-line",
				role: "row"
			}, C("span", {
				class: "mf-axis",
				role: "columnheader"
			}, C("span", { class: "mf-unseen" }, this.words.layers)), ...e));
		}
		for (let e = 0; e < this.shown.length; e += this.columns) {
			let t = this.shown.slice(e, e + this.columns), n = t.map((e) => {
				let t = this.cells.get(`${e.layer},${e.head}`), n = this.words.headShort(e.layer, e.head);
				return t.score.textContent = i ? e.score === null ? n : `${n}\n${O(e.score)}` : "", t.button;
			}), r = i ? null : C("span", {
				class: "mf-axis",
				role: "rowheader"
			}, String(t[0].layer));
			a.push(C("div", {
				class: "mf-line",
				role: "row"
			}, r, ...n));
		}
		this.grid.replaceChildren(...a), r && this.cells.get(this.focus.join(","))?.button.focus();
	}
	paint(e, t, n) {
		let r = `${e.id} ${t.name} ${n.dark}`;
		if (r === this.painted) return;
		this.painted = r;
		let i = A(t), a = D(n.scale.plus), o = t.thumbnail.size ** 2;
		for (let [e, { canvas: n }] of this.cells) {
			let [r, s] = e.split(",").map(Number), c = (r * t.heads + s) * o, l = n.getContext("2d");
			if (!l) continue;
			let u = l.createImageData(n.width, n.height), d = new Uint32Array(u.data.buffer), f = 1;
			for (let e = 0; e < o; e++) f = Math.max(f, i[c + e]);
			for (let e = 0; e < o; e++) d[e] = a[Math.round(255 * Math.sqrt(i[c + e] / f))];
			l.putImageData(u, 0, 0);
		}
	}
	mark(e) {
		let t = new Set(e.off.filter(([t]) => t === e.attention).map(([, e, t]) => `${e},${t}`)), n = `${e.layer},${e.head}`, r = this.cells.get(this.focus.join(","))?.button.isConnected ? this.focus.join(",") : n;
		for (let [i, { button: a }] of this.cells) {
			let [o, s] = i.split(",").map(Number), c = t.has(i);
			a.classList.toggle("mf-off", c), a.setAttribute("aria-selected", String(i === n && e.what === "head")), a.setAttribute("aria-label", this.words.headName(o, s) + (c ? `, ${this.words.isOff}` : "")), a.tabIndex = i === r ? 0 : -1;
		}
		if (!this.cells.get(r)?.button.isConnected && this.shown[0]) {
			let e = this.cells.get(`${this.shown[0].layer},${this.shown[0].head}`);
			e && (e.button.tabIndex = 0);
		}
	}
	rove(e, t) {
		let n = this.cells.get(this.focus.join(","));
		n && (n.button.tabIndex = -1), this.focus = [e, t];
		let r = this.cells.get(`${e},${t}`);
		r && (r.button.tabIndex = 0);
	}
	key = (e) => {
		if (e.ctrlKey || e.metaKey || e.altKey) return;
		let t = this.shown.findIndex(({ layer: e, head: t }) => e === this.focus[0] && t === this.focus[1]);
		if (t < 0) return;
		let n = Math.floor(t / this.columns) * this.columns, r = {
			ArrowRight: t + 1,
			ArrowLeft: t - 1,
			ArrowDown: t + this.columns,
			ArrowUp: t - this.columns,
			Home: n,
			End: Math.min(n + this.columns, this.shown.length) - 1
		}, i = this.shown[r[e.key]];
		if (e.key in r) i && this.cells.get(`${i.layer},${i.head}`)?.button.focus();
		else if (e.key === "x") this.toggle([this.focus]);
		else if (e.key === "X") {
			let e = this.focus[0], t = [...this.cells.keys()].map((e) => e.split(",").map(Number));
			this.toggle(t.filter(([t]) => t === e));
		} else return;
		e.preventDefault();
	};
};
// src/draw/lettering.ts
function j(e) {
	let t = e.replace(/\r?\n/g, "⏎").replace(/\t/g, "⇥").replace(/[\u0000-\u001f\u007f-\u009f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g, "␦");
	return t.trim() === "" ? "␣".repeat(Math.max(1, Math.min(3, t.length))) : t.trim();
}
function M(e) {
	return e.part ? `${j(e.text)} ${e.part}` : j(e.text);
}
var N = document.createElement("canvas").getContext("2d"), P = /* @__PURE__ */ new Map();
function F(e, t, n) {
	let r = `${t} ${e}`, i = P.get(r);
	return i === void 0 && (P.size > 2e4 && P.clear(), N && (N.font = `${t}px ${n}`), i = N ? N.measureText(e).width : e.length * t * .6, P.set(r, i)), i;
}
function I(e, t, n, r) {
	if (F(e, t, n) <= r) return e;
	let i = Array.from(e), [a, o] = [0, i.length];
	for (; a < o;) {
		let e = a + o + 1 >> 1;
		F(`${i.slice(0, e).join("")}…`, t, n) <= r ? a = e : o = e - 1;
	}
	return `${i.slice(0, a).join("")}…`;
}
// src/panels/prediction.ts
var be = class {
	words;
	restore;
	element;
	body = C("div", { "aria-live": "polite" });
	chips = C("div", { class: "mf-chips" });
	constructor(e, t) {
		this.words = e, this.restore = t, this.element = C("section", {
			class: "mf-card mf-prediction",
			"aria-label": e.prediction
		}, C("h2", {}, e.prediction), this.chips, this.body);
	}
	show(e, t, n) {
		let { words: r } = this;
		this.body.classList.toggle("mf-waiting", n), this.showOff(t), this.body.replaceChildren(...e.map(({ recording: n, moved: i }) => {
			let a = C("div", { class: "mf-predicted" });
			e.length > 1 && a.append(C("p", { class: "mf-small" }, L(n)));
			let { prediction: o } = n;
			o ? this.bars(a, n, o, t.length ? i?.prediction ?? null : null) : a.append(C("p", { class: "mf-small" }, r.noPrediction));
			let s = t.length && i ? i.moved ?? (o && i.prediction ? Ce(o, i.prediction) : void 0) : void 0;
			return s !== void 0 && a.append(C("p", { class: "mf-moved" }, r.moved(O(s), o?.of ?? null))), a;
		}));
	}
	showOff(e) {
		let { words: t } = this;
		this.chips.hidden = e.length === 0;
		let n = new Set(e.map(([e]) => e)).size > 1, r = ([e, r, i]) => (n ? `${t.attentions[e] ?? e} ` : "") + t.headShort(r, i), i = e.slice(0, 24).map((e) => C("button", {
			type: "button",
			class: "mf-chip",
			"aria-label": `${t.switchOn}: ${r(e)}`,
			onclick: () => this.restore([e])
		}, `${r(e)} ×`)), a = C("button", {
			type: "button",
			class: "mf-chip mf-strong",
			onclick: () => this.restore(e)
		}, t.allOn);
		this.chips.replaceChildren(C("span", { class: "mf-small" }, t.offCount(e.length)), ...i, a);
	}
	bars(e, t, n, r) {
		let { words: i } = this, a = n.sequence !== void 0 && n.token !== void 0 ? t.sequences[n.sequence]?.tokens[n.token]?.text : void 0;
		e.append(C("p", { class: "mf-small" }, i.predicted[n.of]?.(j(a ?? "")) ?? n.of));
		let o = [...n.labels];
		for (let e of r?.labels ?? []) o.includes(e) || o.push(e);
		let s = (e, t) => {
			let n = e.labels.indexOf(t);
			return n < 0 ? null : e.probabilities[n];
		}, c = n.of === "value" ? Math.max(1, ...[n, r].flatMap((e) => e?.probabilities.map(Math.abs) ?? [])) : 1, l = C("ul", { class: "mf-bars" });
		for (let e of o.slice(0, 14)) {
			let [t, i] = [s(n, e), r ? s(r, e) : null];
			l.append(xe(j(e), t, i, r !== null, c));
		}
		if (e.append(l), r) {
			let t = (e, t) => C("span", {}, C("i", { class: e }), t);
			e.append(C("p", { class: "mf-small mf-legend" }, t("mf-old", i.before), t("mf-new", i.after)));
		}
	}
};
function xe(e, t, n, r, i) {
	let a = (e, t) => {
		let n = C("span", { class: t });
		return n.style.width = `${(100 * Math.min(1, Math.abs(e ?? 0) / i)).toFixed(2)}%`, n;
	}, o = C("span", { class: "mf-track" }, a(t, r ? "mf-fill mf-before" : "mf-fill"), r && a(n, "mf-fill mf-after")), s = (e) => e === null ? "–" : O(e), c = r ? `${s(t)} → ${s(n)}` : s(t);
	return C("li", { class: r ? "mf-bar mf-both" : "mf-bar" }, C("span", { class: "mf-name" }, e), o, C("span", { class: "mf-number" }, c));
}
var L = (e) => `${e.model.name} · ${Se(Object.values(e.sequences)[0]?.text || e.id)}`, Se = (e) => j(e.length > 64 ? `${e.slice(0, 60)}…` : e);
function Ce(e, t) {
	let n = /* @__PURE__ */ new Set([...e.labels, ...t.labels]), r = 0;
	for (let i of n) {
		let [n, a] = [e.labels.indexOf(i), t.labels.indexOf(i)];
		r += Math.abs((e.probabilities[n] ?? 0) - (t.probabilities[a] ?? 0));
	}
	return r / 2;
}
// src/panels/header.ts
var we = class {
	desk;
	words;
	element;
	title = C("h1", {});
	facts = C("p", { class: "mf-facts" });
	texts;
	other;
	swap;
	form;
	input = C("textarea", {
		rows: 2,
		spellcheck: "false"
	});
	constructor(e, t, n, r, i, a) {
		this.desk = e, this.words = n;
		let o = new E(n.language, [{
			value: "en",
			label: "English"
		}, {
			value: "ko",
			label: "한국어"
		}], (e) => i({
			...r,
			language: e
		}));
		o.set(r.language);
		let s = new w(n.theme, (e) => i({
			...r,
			theme: e
		}));
		s.set([
			"auto",
			"light",
			"dark"
		].map((e) => ({
			value: e,
			label: n.themes[e]
		})), r.theme), this.texts = new w(n.recording, (e) => t.set({ recording: e })), this.other = new w(n.compare, (e) => t.set({
			other: e || null,
			difference: !1
		})), this.swap = C("button", {
			type: "button",
			class: "mf-button",
			onclick: () => {
				let { recording: e, other: n } = t.state;
				n && t.set({
					recording: n,
					other: e
				});
			}
		}, n.swap);
		let c = C("button", {
			type: "submit",
			class: "mf-button mf-strong"
		}, n.look);
		this.input.setAttribute("aria-label", n.another);
		let l = C("form", { class: "mf-row" }, this.input, c);
		l.addEventListener("submit", (e) => {
			e.preventDefault(), this.input.value.trim() && !c.disabled && (c.disabled = !0, a(this.input.value).finally(() => c.disabled = !1));
		}), this.form = C("details", { class: "mf-another" }, C("summary", {}, n.another), l), this.element = C("div", { class: "mf-header" }, C("div", { class: "mf-row mf-between" }, C("div", { class: "mf-named" }, this.title, this.facts), C("div", { class: "mf-row" }, o.element, s.element)), C("div", { class: "mf-row mf-texts" }, this.texts.element, this.other.element, this.swap, this.form));
	}
	show(e, t) {
		let { words: n, desk: i } = this, { model: a } = t;
		this.title.textContent = a.name;
		let o = a.parameters >= 1e9 ? `${(a.parameters / 1e9).toFixed(1)} B` : a.parameters >= 1e6 ? `${(a.parameters / 1e6).toFixed(1)} M` : a.parameters.toLocaleString("en");
		this.facts.textContent = [
			a.family,
			n.kinds[a.kind] ?? a.kind,
			n.parameters(o)
		].filter(Boolean).join(" · ");
		let s = i.recordings.map((e) => ({
			value: e.id,
			label: L(e)
		}));
		this.texts.set(s, t.id);
		let c = s.filter(({ value: e }) => e !== t.id);
		this.other.set([{
			value: "",
			label: n.nothing
		}, ...c], e.other ?? ""), this.other.element.hidden = i.recordings.length < 2, this.swap.hidden = e.other === null, this.form.hidden = !r(t, "record") || Object.values(t.sequences).some(({ grid: e }) => e);
	}
}, Te = class {
	desk;
	show;
	fail;
	waiting = !1;
	found = /* @__PURE__ */ new Map();
	wanted = "";
	constructor(e, t, n) {
		this.desk = e, this.show = t, this.fail = n;
	}
	of(e) {
		return this.found.get(e.id) ?? null;
	}
	ask(e, t) {
		let n = t.filter((e) => r(e, "off")), i = JSON.stringify([n.map(({ id: e }) => e), e]);
		if (i === this.wanted || (this.wanted = i, this.waiting = e.length > 0, !this.waiting)) return;
		let a = (t) => e.filter(([e]) => t.attentions.some((t) => t.name === e));
		Promise.all(n.map(async (e) => [e.id, await this.desk.off(e, a(e))])).then((e) => {
			this.wanted === i && (this.found = new Map(e), this.waiting = !1, this.show());
		}, (e) => {
			this.waiting = !1, this.fail(e);
		});
	}
}, R = class {
	context;
	font;
	constructor(e, t) {
		this.context = e, this.font = t;
	}
	rectangle(e, t, n, r, i) {
		this.context.fillStyle = i, this.context.fillRect(e, t, n, r);
	}
	frame(e, t, n, r, i, a) {
		this.context.strokeStyle = i, this.context.lineWidth = a, this.context.strokeRect(e, t, n, r);
	}
	curve(e, t, n, r, i, a, o) {
		let { context: s } = this, c = (n - e) * .45;
		s.globalAlpha = o, s.strokeStyle = i, s.lineWidth = a, s.beginPath(), s.moveTo(e, t), s.bezierCurveTo(e + c, t, n - c, r, n, r), s.stroke(), s.globalAlpha = 1;
	}
	write(e, t, n, r) {
		let { context: i } = this;
		i.font = `${r.weight ?? 400} ${r.size}px ${this.font}`, i.fillStyle = r.colour, i.textAlign = r.align === "middle" ? "center" : r.align ?? "start", i.textBaseline = "middle", r.upwards ? (i.save(), i.translate(e, t), i.rotate(-Math.PI / 2), i.fillText(n, 0, 0), i.restore()) : i.fillText(n, e, t);
	}
	picture(e, t, n, r, i) {
		this.context.imageSmoothingEnabled = !1, this.context.drawImage(e, t, n, r, i);
	}
}, Ee = "http://www.w3.org/2000/svg", De = class {
	font;
	root;
	constructor(e, t, n) {
		this.font = n, this.root = document.createElementNS(Ee, "svg");
		for (let [n, r] of [
			["width", e],
			["height", t],
			["viewBox", `0 0 ${e} ${t}`]
		]) this.root.setAttribute(n, String(r));
	}
	rectangle(e, t, n, r, i) {
		this.add("rect", {
			x: e,
			y: t,
			width: n,
			height: r,
			fill: i
		});
	}
	frame(e, t, n, r, i, a) {
		this.add("rect", {
			x: e,
			y: t,
			width: n,
			height: r,
			fill: "none",
			stroke: i,
			"stroke-width": a
		});
	}
	curve(e, t, n, r, i, a, o) {
		let s = (n - e) * .45, c = `M${z(e)} ${z(t)}C${z(e + s)} ${z(t)} ${z(n - s)} ${z(r)} ${z(n)} ${z(r)}`;
		this.add("path", {
			d: c,
			fill: "none",
			stroke: i,
			"stroke-width": a,
			"stroke-opacity": o
		});
	}
	write(e, t, n, r) {
		let i = this.add("text", {
			x: e,
			y: t,
			fill: r.colour,
			"font-size": r.size,
			"font-family": this.font,
			"font-weight": r.weight ?? 400,
			"text-anchor": r.align ?? "start",
			"dominant-baseline": "central"
		});
		r.upwards && i.setAttribute("transform", `rotate(-90 ${z(e)} ${z(t)})`), i.textContent = n;
	}
	picture(e, t, n, r, i) {
		let a = e.toDataURL("image/png");
		this.add("image", {
			x: t,
			y: n,
			width: r,
			height: i,
			href: a,
			preserveAspectRatio: "none"
		}).setAttribute("image-rendering", "pixelated");
	}
	text() {
		return `<?xml version="1.0" encoding="UTF-8"?>\n${new XMLSerializer().serializeToString(this.root)}\n`;
	}
	add(e, t) {
		let n = document.createElementNS(Ee, e);
		for (let [e, r] of Object.entries(t)) n.setAttribute(e, typeof r == "number" ? z(r) : r);
		return this.root.append(n), n;
	}
}, z = (e) => String(Math.round(e * 100) / 100), B = class {
	paint;
	canvas = document.createElement("canvas");
	width = 0;
	height = 0;
	wanted = 0;
	constructor(e) {
		this.paint = e;
	}
	resize(e, t) {
		this.width = Math.max(1, Math.floor(e)), this.height = Math.max(1, Math.floor(t));
		let n = Math.min(3, devicePixelRatio || 1), [r, i] = [Math.round(this.width * n), Math.round(this.height * n)];
		this.canvas.width !== r && (this.canvas.width = r), this.canvas.height !== i && (this.canvas.height = i), this.canvas.style.width = `${this.width}px`, this.canvas.style.height = `${this.height}px`, this.redraw();
	}
	redraw() {
		this.wanted ||= requestAnimationFrame(() => {
			this.wanted = 0;
			let e = this.canvas.getContext("2d");
			e && this.width && (e.setTransform(this.canvas.width / this.width, 0, 0, this.canvas.height / this.height, 0, 0), e.clearRect(0, 0, this.width, this.height), this.paint(e));
		});
	}
}, Oe = 18, ke = 110, V = 92, Ae = class {
	words;
	element;
	title = C("h2", {});
	note = C("p", {
		class: "mf-small",
		"aria-live": "polite"
	});
	arrangement;
	surface = new B((e) => this.paint(e));
	readout = C("p", { class: "mf-readout" });
	body;
	list = C("ol", { class: "mf-dimensions" });
	pair = null;
	theme = null;
	by = "size";
	constructor(e) {
		this.words = e;
		let t = [{
			value: "size",
			label: e.bySize
		}, {
			value: "dimension",
			label: e.byDimension
		}];
		this.arrangement = new E(e.products, t, (e) => {
			this.by = e, this.arrangement.set(e), this.surface.redraw();
		}), this.arrangement.set(this.by), this.title.textContent = e.pair, this.surface.canvas.setAttribute("role", "img"), this.surface.canvas.addEventListener("pointermove", (e) => this.point(e)), this.surface.canvas.addEventListener("pointerleave", () => this.readout.textContent = ""), this.body = C("div", { class: "mf-stage" }, this.surface.canvas, this.readout, this.list), this.element = C("section", {
			class: "mf-card mf-pair",
			"aria-label": e.pair
		}, C("div", { class: "mf-row mf-between" }, this.title, this.arrangement.element), this.note, this.body), new ResizeObserver(() => this.fit()).observe(this.body), this.empty(e.pairHint);
	}
	empty(e, t = "") {
		this.pair = null, this.title.textContent = this.words.pair, this.note.replaceChildren(e, ...t ? [" ", C("code", {}, t)] : []), this.body.hidden = !0, this.arrangement.element.hidden = !0;
	}
	show(e, t, n, r) {
		let { words: i } = this;
		this.pair = e, this.theme = r, this.title.textContent = i.pairOf(t, n);
		let a = e.products.reduce((e, t) => e + t, 0), o = e.added ? i.addedPart(U(e.added)) : "";
		this.note.textContent = i.scoreLine(U(a), U(e.score), o, O(e.weight)), this.surface.canvas.setAttribute("aria-label", `${i.pairOf(t, n)}: ${this.note.textContent}`), this.body.hidden = !1, this.arrangement.element.hidden = !1;
		let s = H(e, "size").slice(0, 5);
		this.list.replaceChildren(...s.map((t) => C("li", {}, `${i.dimension} ${t}: ${U(e.query[t])} × ${U(e.key[t])} → ${U(e.products[t])}`))), this.fit();
	}
	fit() {
		this.pair && this.body.clientWidth && this.surface.resize(this.body.clientWidth, 172);
	}
	paint(e) {
		let { pair: t, theme: n, words: r } = this;
		if (!t || !n) return;
		let i = new R(e, n.font), a = H(t, this.by), o = (this.surface.width - V) / a.length, s = (e, t, r) => {
			let s = Math.max(1e-9, ...r.map(Math.abs));
			i.write(82, e + Oe / 2, t, {
				size: 12,
				colour: n.soft,
				align: "end"
			}), a.forEach((t, a) => {
				let c = 255 * Math.abs(r[t]) / s;
				i.rectangle(V + a * o, e, Math.max(1, o - +(o > 4)), Oe, v(_(n.scale, c, r[t] < 0)));
			});
		};
		s(0, r.queryVector, t.query), s(24, r.keyVector, t.key);
		let [c, l] = [Math.max(0, ...t.products), Math.min(0, ...t.products)], u = ke / Math.max(1e-9, c - l), d = 54 + c * u;
		i.write(82, d, r.products, {
			size: 12,
			colour: n.soft,
			align: "end"
		}), i.rectangle(V, d, this.surface.width - V, 1, n.rule), a.forEach((e, r) => {
			let a = t.products[e], s = Math.abs(a) * u, c = v(_(n.scale, n.dark ? 170 : 165, a < 0));
			i.rectangle(V + r * o, a > 0 ? d - s : d, Math.max(1, o - (o > 4 ? 1.5 : 0)), s, c);
		});
	}
	point(e) {
		let { pair: t, words: n } = this;
		if (!t) return;
		let r = this.surface.canvas.getBoundingClientRect(), i = H(t, this.by), a = i[Math.floor((e.clientX - r.left - V) / (r.width - V) * i.length)];
		this.readout.textContent = a === void 0 ? "" : `${n.dimension} ${a}: ${U(t.query[a])} × ${U(t.key[a])} → ${U(t.products[a])}`;
	}
};
function H(e, t) {
	let n = e.products.map((e, t) => t);
	return t === "dimension" ? n : n.sort((t, n) => Math.abs(e.products[n]) - Math.abs(e.products[t]));
}
var U = (e) => `${e < 0 ? "−" : ""}${Math.abs(e).toFixed(Math.abs(e) < .1 ? 3 : 2)}`, je = class {
	words;
	explain;
	text = C("div", {
		class: "mf-tokens",
		role: "listbox"
	});
	detail = C("div", {
		class: "mf-expected",
		"aria-live": "polite"
	});
	element = C("div", { class: "mf-written" }, this.text, this.detail);
	tokens = [];
	at = 0;
	kept = !1;
	constructor(e, t) {
		this.words = e, this.explain = t, this.text.addEventListener("keydown", this.key);
	}
	show(e, t, n, r) {
		let { written: i } = e;
		if (!i) {
			this.text.replaceChildren(), this.detail.replaceChildren(this.words.nothingWritten);
			return;
		}
		let a = t ?? i, o = this.text.contains(document.activeElement), s = e.sequences[i.sequence].tokens;
		this.text.setAttribute("aria-label", this.words.abouts.written), this.tokens = s.map((o, s) => {
			let c = a.probabilities[s] ?? null, l = C("span", {
				class: `mf-token${o.special ? " mf-special" : ""}${i.from !== void 0 && s >= i.from ? " mf-own" : ""}`,
				role: "option",
				tabindex: -1,
				"aria-label": `${j(o.text)} ${c === null ? this.words.nothingBefore : O(c)}`
			});
			if (l.append(j(o.text)), c !== null) {
				let e = _(n.scale, 235 * Me(c));
				l.style.backgroundColor = v(e), l.style.color = y(e);
			}
			let u = () => this.tell(s, e, t, r);
			return l.addEventListener("focus", () => {
				this.kept = !0, this.rove(s), u();
			}), l.addEventListener("pointerenter", () => this.kept || u()), l.addEventListener("click", () => l.focus()), l;
		}), this.at = Math.min(this.at, s.length - 1), this.text.replaceChildren(...this.tokens), this.tokens[this.at] && (this.tokens[this.at].tabIndex = 0), this.tell(this.at || Math.min(1, s.length - 1), e, t, r), o && this.tokens[this.at]?.focus();
	}
	tell(e, t, n, r) {
		let { written: i } = t;
		if (!i) return;
		let a = r(e) && i.probabilities[e] !== null;
		this.tokens.forEach((t, n) => t.setAttribute("aria-selected", String(n === e)));
		let o = t.sequences[i.sequence].tokens[e], s = n ? [[this.words.before, i], [this.words.after, n]] : [["", i]];
		this.detail.replaceChildren(...s.map(([t, n]) => {
			let r = n.probabilities[e] ?? null, i = C("ol", {});
			for (let [t, r] of n.likeliest[e] ?? []) i.append(Ne(j(t), r, t === o?.text));
			let a = r === null ? this.words.nothingBefore : O(r);
			return C("div", {}, C("p", {}, C("b", {}, j(o?.text ?? "")), ` ${a}`), t && C("p", { class: "mf-small" }, t), i);
		}), ...a ? [C("button", {
			type: "button",
			class: "mf-button",
			onclick: () => this.explain(e)
		}, this.words.whyToken)] : []);
	}
	key = (e) => {
		let t = this.tokens.length - 1;
		e.key === "Escape" && (this.kept = !1);
		let n = {
			ArrowRight: this.at + 1,
			ArrowDown: this.at + 1,
			ArrowLeft: this.at - 1,
			ArrowUp: this.at - 1,
			Home: 0,
			End: t
		};
		e.key in n && (e.preventDefault(), this.tokens[Math.max(0, Math.min(t, n[e.key]))].focus());
	};
	rove(e) {
		this.tokens[this.at] && (this.tokens[this.at].tabIndex = -1), this.at = e, this.tokens[e].tabIndex = 0;
	}
}, Me = (e) => Math.min(1, -Math.log10(Math.max(.001, e)) / 3);
function Ne(e, t, n) {
	let r = C("span", { class: "mf-fill" });
	return r.style.width = `${Math.max(.5, 100 * Math.min(1, t))}%`, C("li", { class: n ? "mf-bar mf-marked" : "mf-bar" }, C("span", { class: "mf-name" }, e), C("span", { class: "mf-track" }, r), C("span", { class: "mf-number" }, O(t)));
}
// src/views/lens.ts
var Pe = 86, Fe = class {
	words;
	table = C("table", { class: "mf-lens" });
	range = C("span", { class: "mf-small" });
	detail = C("div", {
		class: "mf-expected",
		"aria-live": "polite"
	});
	element;
	first = 0;
	rows = [];
	recording = null;
	theme = null;
	cell = [0, 0];
	constructor(e) {
		this.words = e;
		let t = (e, t, n) => C("button", {
			type: "button",
			class: "mf-round",
			"aria-label": t,
			title: t,
			onclick: () => this.move(n)
		}, e), n = C("div", { class: "mf-row" }, t("←", e.earlier, -1), t("→", e.later, 1), this.range);
		this.element = C("div", { class: "mf-stage" }, n, C("div", { class: "mf-scroll" }, this.table), this.detail), this.table.addEventListener("keydown", this.key), new ResizeObserver(() => this.recording && this.draw()).observe(this.element);
	}
	show(e, t, n, r) {
		this.recording = e, this.rows = t, this.theme = n;
		let i = t[0]?.length ?? 0;
		r !== null && (r < this.first || r >= this.first + this.count()) && (this.first = Math.max(0, r - 2)), this.first = Math.max(0, Math.min(this.first, i - this.count())), this.cell = [t.length - 1, Math.max(this.first, r ?? this.first)], this.draw();
	}
	count() {
		return Math.max(2, Math.floor(((this.element.clientWidth || 700) - 60) / Pe));
	}
	move(e) {
		let t = this.rows[0]?.length ?? 0;
		this.first = Math.max(0, Math.min(t - this.count(), this.first + e * this.count())), this.cell = [this.cell[0], this.first], this.draw();
	}
	draw() {
		let { recording: e, rows: t, theme: n } = this;
		if (!e || !n || !t.length) return;
		let r = this.table.contains(document.activeElement), i = e.sequences[e.written?.sequence ?? Object.keys(e.sequences)[0]], a = Math.min(t[0].length, this.first + this.count());
		this.range.textContent = this.words.tokensRange(this.first, a - 1, t[0].length);
		let o = C("tr", {}, C("th", { scope: "col" }, this.words.layer));
		for (let e = this.first; e < a; e++) o.append(C("th", { scope: "col" }, j(i.tokens[e]?.text ?? "")));
		let s = C("tbody", {});
		for (let e = t.length - 1; e >= 0; e--) {
			let r = C("tr", {}, C("th", { scope: "row" }, String(e)));
			for (let i = this.first; i < a; i++) {
				let [a, o] = t[e][i]?.[0] ?? ["", 0], s = C("td", {
					tabindex: -1,
					"data-layer": e,
					"data-token": i
				}, j(a)), c = _(n.scale, 235 * o);
				s.style.backgroundColor = v(c), s.style.color = y(c), s.addEventListener("focus", () => this.tell(e, i)), s.addEventListener("click", () => s.focus()), r.append(s);
			}
			s.append(r);
		}
		this.table.replaceChildren(C("thead", {}, o), s), this.cell[1] = Math.max(this.first, Math.min(a - 1, this.cell[1])), this.tell(...this.cell), r && this.current()?.focus();
	}
	current() {
		return this.table.querySelector(`td[data-layer="${this.cell[0]}"][data-token="${this.cell[1]}"]`);
	}
	tell(e, t) {
		let n = this.current();
		n && (n.tabIndex = -1), this.cell = [e, t];
		let r = this.current();
		r && (r.tabIndex = 0);
		let i = C("ol", {});
		for (let [n, r] of this.rows[e]?.[t] ?? []) i.append(Ne(j(n), r, !1));
		this.detail.replaceChildren(C("p", {}, this.words.layerToken(e, t)), i);
	}
	key = (e) => {
		let t = {
			ArrowUp: [1, 0],
			ArrowDown: [-1, 0],
			ArrowLeft: [0, -1],
			ArrowRight: [0, 1]
		}[e.key];
		if (!t) return;
		e.preventDefault();
		let n = Math.max(0, Math.min(this.rows.length - 1, this.cell[0] + t[0])), r = Math.max(0, Math.min(this.rows[0].length - 1, this.cell[1] + t[1]));
		r < this.first || r >= this.first + this.count() ? (this.first = Math.max(0, Math.min(this.rows[0].length - this.count(), this.first + t[1])), this.cell = [n, r], this.draw()) : this.tell(n, r), this.current()?.focus();
	};
}, Ie = {
	viewer: "Attention viewer",
	language: "Language",
	theme: "Colours",
	themes: {
		auto: "System",
		light: "Light",
		dark: "Dark"
	},
	kinds: {
		encoder: "encoder",
		decoder: "decoder",
		"encoder-decoder": "encoder-decoder",
		vision: "vision",
		recurrent: "recurrent"
	},
	parameters: (e) => `${e} parameters`,
	recording: "Text",
	compare: "Compare with",
	nothing: "nothing",
	another: "Look at another text",
	look: "Look",
	swap: "Swap",
	heads: "Heads",
	headsHint: "Arrow keys move, Enter opens.",
	headsHintOff: "X switches off, Shift+X switches the layer off.",
	attention: "Attention",
	attentions: {
		"encoder.attention": "Encoder",
		"decoder.attention": "Decoder",
		"decoder.cross_attention": "Cross",
		"vision.attention": "Picture"
	},
	order: "Sort by",
	orders: {
		layer: "layer",
		entropy: "spread (entropy)",
		distance: "distance",
		previous: "previous token",
		next: "next token",
		self: "itself",
		first: "first token",
		separator: "separator",
		induction: "induction",
		change: "effect when off",
		difference: "difference between the two"
	},
	layers: "Layers",
	allLayers: "all",
	reverse: "Lowest first",
	atLeast: "At least",
	headName: (e, t) => `Layer ${e}, head ${t}`,
	headShort: (e, t) => `${e}.${t}`,
	headsShown: (e, t) => e === t ? `${t} ${t === 1 ? "head" : "heads"}` : `${e} of ${t} heads`,
	isOff: "off",
	clickOff: "Click switches off",
	whats: {
		head: "One head",
		rollout: "Rollout",
		gradient: "Attention × gradient",
		lens: "Logit lens",
		written: "Token probabilities"
	},
	what: "What is shown",
	abouts: {
		head: "",
		rollout: "Attention of all layers multiplied up, half of each step kept as the token itself (Abnar & Zuidema 2020).",
		gradient: "Attention times its gradient for one prediction, negative parts dropped (Chefer et al. 2021).",
		lens: "What each layer would predict if it were the last.",
		written: "How probable the model found each token, given those before it. Focus a token for what it expected."
	},
	views: {
		lines: "Lines",
		matrix: "Matrix",
		text: "Text",
		picture: "Picture",
		positions: "Positions"
	},
	view: "View",
	mergeWords: "Whole words",
	hideSpecials: "Hide special tokens",
	hideFirst: "Hide first token",
	brightness: "measured",
	brightnesses: {
		row: "within its row",
		root: "within its row, square root",
		head: "within the head"
	},
	difference: "Difference",
	differenceHint: "first minus second",
	differenceNot: "Only texts of as many tokens, most of them the same, can be subtracted.",
	exporting: "Export",
	exportAs: (e) => `Export the picture as ${e}`,
	exportData: "Export the data as JSON",
	loading: "Loading …",
	empty: "Nothing is left to show: every token is hidden.",
	query: "From",
	key: "To",
	linesLabel: "Attention as lines between tokens. Up and down choose a token, right enters what it looks at, left goes back, Enter opens the pair, Escape lets go.",
	matrixLabel: "Attention as a matrix, rows look at columns. Arrow keys move, Enter opens the pair, plus and minus zoom, 0 shows all.",
	textLabel: "The text. Arrow keys choose the token whose attention is shown.",
	pictureLabel: "The picture in patches. Arrow keys choose the patch whose attention is shown.",
	looksAt: (e, t) => `${e} looks at ${t}`,
	lookedAt: (e, t) => `${e} is looked at by ${t}`,
	chooseToken: "Choose a token to see where it looks.",
	chooseInPicture: "Choose a patch to see where it looks.",
	zoomIn: "Zoom in",
	zoomOut: "Zoom out",
	zoomFit: "Show all",
	offsetsTitle: "Mean weight by distance (key minus query)",
	receivedTitle: "Mean weight each token receives",
	switchOff: "Switch this head off",
	switchOn: "Switch this head on",
	switchLayerOff: "Switch layer off",
	switchLayerOn: "Switch layer on",
	previousHead: "Previous head",
	nextHead: "Next head",
	offNot: "Heads cannot be switched off in a file; that needs the model:",
	offEffects: "What each head alone changes is here, too: sort by “effect when off”.",
	allOn: "All on again",
	offCount: (e) => `${e} ${e === 1 ? "head" : "heads"} off`,
	prediction: "Prediction",
	predicted: {
		class: () => "Class",
		labels: () => "Labels, each by itself",
		value: () => "Value",
		"next token": (e) => `Next token after “${e}”`,
		"masked token": (e) => `Token in place of ${e}`,
		tag: (e) => `Tag of “${e}”`,
		"answer start": () => "Where the answer starts",
		"replaced token": (e) => `Whether “${e}” was replaced`
	},
	before: "all heads on",
	after: "with heads off",
	moved: (e, t) => `moved by ${e} (${{
		labels: "largest change",
		value: "change",
		state: "1 − cosine of the mean states"
	}[t ?? "state"] ?? "total variation"})`,
	noPrediction: "This model predicts nothing here.",
	measuring: "Measuring …",
	target: "For",
	whyToken: "Attention × gradient of this token",
	tokenNumber: (e, t) => `“${e}” (token ${t})`,
	pair: "Why this weight",
	pairOf: (e, t) => `${e} → ${t}`,
	pairHint: "Choose a token and then what it looks at, to see which dimensions of query and key make the score.",
	pairNot: "This attention is no product of queries and keys, so its weights have no parts.",
	pairNotHere: "Queries and keys would make this file too large; to see the parts of a score, run the model:",
	queryVector: "query",
	keyVector: "key",
	products: "query × key",
	dimension: "dimension",
	byDimension: "by dimension",
	bySize: "by size",
	scoreLine: (e, t, n, r) => `The products add up to ${e}. Score after scaling: ${t}${n}. Weight after softmax: ${r}.`,
	addedPart: (e) => `, position adds ${e}`,
	layer: "Layer",
	layerToken: (e, t) => `Layer ${e}, token ${t}`,
	nothingBefore: "nothing precedes it",
	nothingWritten: "No token probabilities were recorded.",
	earlier: "Earlier tokens",
	later: "Later tokens",
	tokensRange: (e, t, n) => `tokens ${e}–${t} of ${n}`,
	scores: {
		entropy: "Spread (entropy)",
		distance: "Distance",
		previous: "Previous",
		next: "Next",
		self: "Itself",
		first: "First",
		separator: "Separator",
		induction: "Induction"
	},
	rank: (e, t) => `${Le(e)} of ${t}`,
	weak: "0",
	strong: "largest",
	failed: "That did not work",
	noRecordings: "There is nothing to look at: the page holds no recording.",
	notHere: "not in this page"
};
function Le(e) {
	return `${e}${e % 100 >= 11 && e % 100 <= 13 ? "th" : [
		"th",
		"st",
		"nd",
		"rd"
	][e % 10] ?? "th"}`;
}
// src/words/ko.ts
var Re = {
	viewer: "어텐션 뷰어",
	language: "언어",
	theme: "화면 색",
	themes: {
		auto: "시스템",
		light: "밝게",
		dark: "어둡게"
	},
	kinds: {
		encoder: "인코더",
		decoder: "디코더",
		"encoder-decoder": "인코더-디코더",
		vision: "비전",
		recurrent: "순환 신경망"
	},
	parameters: (e) => `매개변수 ${e}`,
	recording: "텍스트",
	compare: "비교 대상",
	nothing: "없음",
	another: "다른 텍스트 보기",
	look: "보기",
	swap: "바꾸기",
	heads: "헤드",
	headsHint: "화살표 키로 이동하고 Enter로 엽니다.",
	headsHintOff: "X는 헤드를, Shift+X는 층 전체를 끕니다.",
	attention: "어텐션",
	attentions: {
		"encoder.attention": "인코더",
		"decoder.attention": "디코더",
		"decoder.cross_attention": "교차",
		"vision.attention": "그림"
	},
	order: "정렬",
	orders: {
		layer: "층 순서",
		entropy: "퍼짐(엔트로피)",
		distance: "거리",
		previous: "직전 토큰",
		next: "다음 토큰",
		self: "자기 자신",
		first: "첫 토큰",
		separator: "구분 토큰",
		induction: "인덕션",
		change: "껐을 때의 변화",
		difference: "두 기록의 차이"
	},
	layers: "층",
	allLayers: "전체",
	reverse: "낮은 값부터",
	atLeast: "최솟값",
	headName: (e, t) => `층 ${e}, 헤드 ${t}`,
	headShort: (e, t) => `${e}.${t}`,
	headsShown: (e, t) => e === t ? `헤드 ${t}개` : `헤드 ${t}개 중 ${e}개`,
	isOff: "꺼짐",
	clickOff: "눌러서 끄기",
	whats: {
		head: "헤드 보기",
		rollout: "롤아웃",
		gradient: "어텐션 × 기울기",
		lens: "로짓 렌즈",
		written: "토큰 확률"
	},
	what: "무엇을 볼지",
	abouts: {
		head: "",
		rollout: "모든 층의 어텐션을 차례로 곱한 값입니다. 각 단계의 절반은 토큰 자신으로 둡니다(Abnar & Zuidema 2020).",
		gradient: "한 예측에 대한 어텐션과 그 기울기의 곱에서 음수를 뺀 값입니다(Chefer et al. 2021).",
		lens: "각 층이 마지막 층이라면 무엇을 예측했을지 보여 줍니다.",
		written: "앞의 토큰들이 주어졌을 때 모델이 각 토큰에 매긴 확률입니다. 토큰을 고르면 모델이 예상한 후보가 보입니다."
	},
	views: {
		lines: "선",
		matrix: "행렬",
		text: "텍스트",
		picture: "그림",
		positions: "위치 평균"
	},
	view: "보는 방식",
	mergeWords: "단어로 합치기",
	hideSpecials: "특수 토큰 숨기기",
	hideFirst: "첫 토큰 숨기기",
	brightness: "기준",
	brightnesses: {
		row: "행마다",
		root: "행마다, 제곱근",
		head: "헤드 전체"
	},
	difference: "차이 보기",
	differenceHint: "첫째에서 둘째를 뺀 값",
	differenceNot: "토큰 수가 같고 토큰이 대부분 같은 텍스트끼리만 뺄 수 있습니다.",
	exporting: "내보내기",
	exportAs: (e) => `그림을 ${e}로 내보내기`,
	exportData: "데이터를 JSON으로 내보내기",
	loading: "불러오는 중 …",
	empty: "모든 토큰을 숨겨서 보여 줄 것이 없습니다.",
	query: "보는 쪽",
	key: "보는 대상",
	linesLabel: "토큰 사이의 어텐션을 선으로 그린 그림. 위아래 키로 토큰을 고르고, 오른쪽 키로 그 토큰이 보는 쪽으로, 왼쪽 키로 되돌아갑니다. Enter는 두 토큰의 점수를 열고, Escape는 선택을 풉니다.",
	matrixLabel: "어텐션 행렬. 행의 토큰이 열의 토큰을 봅니다. 화살표 키로 이동하고 Enter로 점수를 엽니다. +와 -로 확대·축소하고 0으로 전체를 봅니다.",
	textLabel: "텍스트. 화살표 키로 어텐션을 볼 토큰을 고릅니다.",
	pictureLabel: "패치로 나눈 그림. 화살표 키로 어텐션을 볼 패치를 고릅니다.",
	looksAt: (e, t) => `${e} → ${t}`,
	lookedAt: (e, t) => `${e} ← ${t}`,
	chooseToken: "토큰을 고르면 그 토큰이 어디를 보는지 나타납니다.",
	chooseInPicture: "패치를 고르면 그 패치가 어디를 보는지 나타납니다.",
	zoomIn: "확대",
	zoomOut: "축소",
	zoomFit: "전체 보기",
	offsetsTitle: "거리별 평균 가중치(키 위치 − 쿼리 위치)",
	receivedTitle: "각 토큰이 받는 평균 가중치",
	switchOff: "이 헤드 끄기",
	switchOn: "이 헤드 켜기",
	switchLayerOff: "층 끄기",
	switchLayerOn: "층 켜기",
	previousHead: "이전 헤드",
	nextHead: "다음 헤드",
	offNot: "파일에서는 헤드를 끌 수 없습니다. 다음과 같이 모델을 실행하면 끌 수 있습니다.",
	offEffects: "헤드 하나를 껐을 때의 변화는 이 파일에도 있습니다. ‘껐을 때의 변화’로 정렬해 보세요.",
	allOn: "모두 다시 켜기",
	offCount: (e) => `헤드 ${e}개 꺼짐`,
	prediction: "예측",
	predicted: {
		class: () => "클래스",
		labels: () => "레이블(서로 독립)",
		value: () => "값",
		"next token": (e) => `“${e}” 다음 토큰`,
		"masked token": (e) => `${e} 자리의 토큰`,
		tag: (e) => `“${e}”의 태그`,
		"answer start": () => "답의 시작 위치",
		"replaced token": (e) => `“${e}”의 교체 여부`
	},
	before: "모든 헤드가 켜졌을 때",
	after: "헤드를 껐을 때",
	moved: (e, t) => `변화 ${e} (${{
		labels: "가장 큰 변화",
		value: "값의 변화",
		state: "평균 상태의 1 − 코사인"
	}[t ?? "state"] ?? "총변동 거리"})`,
	noPrediction: "이 모델이 여기서 예측하는 것은 없습니다.",
	measuring: "재는 중 …",
	target: "예측 대상",
	whyToken: "이 토큰의 어텐션 × 기울기",
	tokenNumber: (e, t) => `“${e}” (토큰 ${t})`,
	pair: "이 가중치의 이유",
	pairOf: (e, t) => `${e} → ${t}`,
	pairHint: "토큰을 고른 뒤 그 토큰이 보는 토큰을 고르면, 쿼리와 키의 어느 차원이 점수를 만드는지 보입니다.",
	pairNot: "이 어텐션은 쿼리와 키의 곱이 아니어서 점수를 나누어 볼 수 없습니다.",
	pairNotHere: "쿼리와 키는 커서 이 파일에 담지 않았습니다. 점수의 세부 내용은 모델을 실행하면 보입니다.",
	queryVector: "쿼리",
	keyVector: "키",
	products: "쿼리 × 키",
	dimension: "차원",
	byDimension: "차원 순서",
	bySize: "크기 순서",
	scoreLine: (e, t, n, r) => `곱의 합 ${e}, 스케일링한 점수 ${t}${n}, 소프트맥스를 거친 가중치 ${r}`,
	addedPart: (e) => `, 위치에서 ${e}`,
	layer: "층",
	layerToken: (e, t) => `층 ${e}, 토큰 ${t}`,
	nothingBefore: "앞에 아무것도 없음",
	nothingWritten: "기록된 토큰 확률이 없습니다.",
	earlier: "앞쪽 토큰",
	later: "뒤쪽 토큰",
	tokensRange: (e, t, n) => `토큰 ${n}개 중 ${e}–${t}`,
	scores: {
		entropy: "퍼짐(엔트로피)",
		distance: "거리",
		previous: "직전",
		next: "다음",
		self: "자신",
		first: "첫 토큰",
		separator: "구분",
		induction: "인덕션"
	},
	rank: (e, t) => `${t}개 중 ${e}위`,
	weak: "0",
	strong: "최댓값",
	failed: "처리하지 못했습니다",
	noRecordings: "볼 것이 없습니다. 페이지에 기록이 들어 있지 않습니다.",
	notHere: "이 페이지에 없음"
}, ze = "moduformer view \"…\" --model …", Be = {
	en: Ie,
	ko: Re
}, Ve = 2 ** 20, He = 64, Ue = 16e3;
function We(e, t, n) {
	let { width: r, height: i } = e.size(), a = new De(r, i, t.theme.font);
	e.draw(a), W(new Blob([a.text()], { type: "image/svg+xml" }), `${n}.svg`);
}
function Ge(e, t, n) {
	let { width: r, height: i } = e.size(), a = Math.min(2, Ue / r, Ue / i, Math.sqrt(12e7 / (r * i))), o = document.createElement("canvas");
	[o.width, o.height] = [Math.round(r * a), Math.round(i * a)];
	let s = o.getContext("2d");
	s && (s.scale(a, a), e.draw(new R(s, t.theme.font)), o.toBlob((e) => e && W(e, `${n}.png`), "image/png"));
}
function Ke(e, t, n, r) {
	W(new Blob([JSON.stringify(qe(e, t, n))], { type: "application/json" }), `${r}.json`);
}
function qe(e, t, r) {
	let { weights: i, rows: a, columns: o } = r, s = (e) => Number(e.toPrecision(4)), c = i.rows * i.columns <= Ve, l = (e) => Array.from({ length: i.rows }, (t, n) => e(n)), u = n(e, t.attention);
	return {
		format: "moduformer view 1",
		recording: e,
		shown: t.what === "head" ? {
			attention: u.name,
			layer: t.layer,
			head: t.head
		} : {
			attention: u.name,
			what: t.what
		},
		rows: a.labels.map(({ text: e, tokens: t }) => ({
			text: e,
			tokens: t
		})),
		columns: o.labels.map(({ text: e, tokens: t }) => ({
			text: e,
			tokens: t
		})),
		...c ? { weights: l((e) => Array.from({ length: i.columns }, (t, n) => s(i.at(e, n)))) } : { strongest: l((e) => i.strongest(e, He).map((t) => [t, s(i.at(e, t))])) }
	};
}
function W(e, t) {
	let n = document.createElement("a"), r = URL.createObjectURL(e);
	n.href = r, n.download = t.replace(/[^\p{L}\p{N}._-]+/gu, "-"), document.body.append(n), n.click(), n.remove(), setTimeout(() => URL.revokeObjectURL(r), 1e4);
}
// src/weights/pyramid.ts
var Je = [
	"row",
	"root",
	"head"
];
function G(e, t, n, r) {
	return r === "head" ? n * e.tops[t] / (e.top || 1) : r === "root" ? Math.sqrt(255 * n) : n;
}
var Ye = class {
	levels;
	constructor(e, t) {
		let { rows: n, columns: r, signs: i } = e;
		this.levels = [{
			rows: n,
			columns: r,
			values: Xe(e, t),
			signs: i
		}];
	}
	at(e) {
		let t = 0;
		for (; e * 2 ** t < .75 && this.level(t).rows > 1;) t++;
		return [this.level(t), t];
	}
	level(e) {
		for (; this.levels.length <= e;) this.levels.push(Ze(this.levels[this.levels.length - 1]));
		return this.levels[e];
	}
};
function Xe(e, t) {
	if (t === "row") return e.shares;
	let n = new Uint8Array(e.shares.length), r = /* @__PURE__ */ new Uint8Array(256);
	for (let i = 0, a = 0; i < e.rows; i++) {
		for (let n = 0; n < 256; n++) r[n] = Math.round(G(e, i, n, t));
		for (let t = 0; t < e.columns; t++, a++) n[a] = r[e.shares[a]];
	}
	return n;
}
function Ze(e) {
	let t = Math.ceil(e.rows / 2), n = Math.ceil(e.columns / 2), r = new Uint8Array(t * n), i = e.signs && new Uint8Array(t * n);
	for (let t = 0; t < e.rows; t++) {
		let [a, o] = [t * e.columns, (t >> 1) * n];
		for (let t = 0; t < e.columns; t++) {
			let n = o + (t >> 1), s = e.values[a + t];
			s <= r[n] || (r[n] = s, i && e.signs && (i[n] = e.signs[a + t]));
		}
	}
	return {
		rows: t,
		columns: n,
		values: r,
		signs: i
	};
}
var K = 13.5, q = 40, Qe = .03, $e = class {
	strongest = [];
	incoming = null;
	clear() {
		this.strongest = [], this.incoming = null;
	}
	across(e, t) {
		let n = Math.max(...[e.rows, e.columns].map((t) => this.widest(t, e.theme.font)));
		return Math.min(Math.max(t, 320), Math.round(2 * (n + 30) + 460));
	}
	widest(e, t) {
		let n = 40;
		for (let r of e.labels.slice(0, 400)) n = Math.max(n, F(M(r), K, t));
		return Math.min(n, 220);
	}
	draw(e, t, n, r, i, a, o) {
		let { rows: s, columns: c, theme: l, words: u } = t, d = this.gutter(t, n), f = Math.max(0, Math.floor((r - 30) / 25)), p = (e) => Math.min(e.labels.length - 1, Math.ceil((i - 30) / 25));
		if (a.row !== null) this.outgoing(e, t, n, d, a.row, 160, a.column);
		else if (a.column !== null) this.arriving(e, t, n, d, a.column);
		else for (let r = f; r <= p(s); r++) this.outgoing(e, t, n, d, r, q, null);
		this.tint(e, t, n, d, a, f, Math.max(p(s), p(c)));
		let m = (r, i, o) => {
			let s = r.labels[i], c = I(M(s), K, l.font, d - 22), u = a[o] === i, f = {
				size: K,
				colour: this.shadeOf(t, a, i, o) > 150 ? l.dark ? "#10141b" : "#ffffff" : s.special ? l.soft : l.ink,
				weight: u ? 700 : 400
			}, p = 30 + i * 25 + 25 / 2;
			o === "row" ? e.write(d - 10, p, c, {
				...f,
				align: "end"
			}) : e.write(n - d + 10, p, c, f);
		};
		for (let e = f; e <= p(s); e++) m(s, e, "row");
		for (let e = f; e <= p(c); e++) m(c, e, "column");
		let h = o ? 0 : r;
		e.rectangle(0, h, n, 26, l.ground), e.write(d - 10, h + 13, u.query, {
			size: 12,
			colour: l.soft,
			align: "end"
		}), e.write(n - d + 10, h + 13, u.key, {
			size: 12,
			colour: l.soft
		});
	}
	outgoing(e, t, n, r, i, a, o) {
		if (i >= t.weights.rows) return;
		let s = (a === q ? this.strongest[i] : void 0) ?? t.weights.strongest(i, a);
		a === q && (this.strongest[i] = s);
		for (let c = s.length - 1; c >= 0; c--) this.stroke(e, t, n, r, i, s[c], o !== null && o !== s[c], a === q);
	}
	arriving(e, t, n, r, i) {
		this.incoming ??= [], this.incoming[i] ??= et(t, i, 160);
		for (let a of this.incoming[i]) this.stroke(e, t, n, r, a, i, !1);
	}
	stroke(e, t, n, r, i, a, o, s = !1) {
		let { theme: c, weights: l } = t, u = this.shareOf(t, i, a) * (s ? Math.sqrt(Math.min(1, l.tops[i])) : 1);
		if (u < Qe) return;
		let d = (e) => 30 + e * 25 + 25 / 2, f = l.signs?.[i * l.columns + a], p = v(_(c.scale, c.dark ? 175 : 165, f === 1));
		e.curve(r, d(i), n - r, d(a), p, .8 + 2.6 * u, (o ? .25 : 1) * (.08 + .87 * u));
	}
	shareOf(e, t, n) {
		let { weights: r, brightness: i } = e;
		return G(r, t, r.shares[t * r.columns + n], i) / 255;
	}
	shadeOf(e, t, n, r) {
		return t.row !== null && r === "column" && t.row < e.weights.rows ? 255 * this.shareOf(e, t.row, n) : t.row === null && t.column !== null && r === "row" ? 255 * this.shareOf(e, n, t.column) : 0;
	}
	tint(e, t, n, r, i, a, o) {
		let { theme: s, weights: c } = t, l = (t, i, a) => e.rectangle(t === "row" ? 2 : n - r + 2, 30 + i * 25 + 1, r - 4, 23, a), [u, d] = i.row === null ? ["row", c.rows] : ["column", c.columns];
		if (i.row !== null || i.column !== null) for (let e = a; e <= Math.min(o, d - 1); e++) {
			let n = this.shadeOf(t, i, e, u), [r, a] = i.row === null ? [e, i.column ?? 0] : [i.row, e], o = c.signs?.[r * c.columns + a] === 1;
			n > 2 && l(u, e, v(_(s.scale, n, o)));
		}
		for (let t of ["row", "column"]) {
			let a = i[t];
			if (a === null) continue;
			let o = t === "row" ? 2 : n - r + 2;
			e.frame(o + .5, 30 + a * 25 + 1.5, r - 5, 22, s.accent, 1.5);
		}
	}
	gutter(e, t) {
		let n = Math.max(this.widest(e.rows, e.theme.font), this.widest(e.columns, e.theme.font));
		return Math.min(n + 24, t * .36);
	}
};
function et(e, t, n) {
	let { weights: r } = e;
	return Array.from({ length: r.rows }, (e, n) => [Math.abs(r.at(n, t)), n]).sort((e, t) => t[0] - e[0]).slice(0, n).map(([, e]) => e);
}
// src/views/lines.ts
var tt = class {
	hearing;
	surface = new B((e) => this.paint(e));
	space = C("div", { class: "mf-space" });
	element;
	picture = null;
	chosen = {
		row: null,
		column: null
	};
	pointed = null;
	side = "row";
	strands = new $e();
	constructor(e, t) {
		this.hearing = e;
		let { canvas: n } = this.surface;
		this.space.append(n), this.element = C("div", {
			class: "mf-scroll mf-lines",
			tabindex: 0,
			role: "application",
			"aria-label": t
		}, this.space), this.element.addEventListener("scroll", () => this.surface.redraw(), { passive: !0 }), this.element.addEventListener("keydown", this.key), n.addEventListener("pointermove", (e) => this.point(this.find(e))), n.addEventListener("pointerleave", () => this.point(null)), n.addEventListener("click", (e) => this.click(this.find(e))), n.addEventListener("dblclick", () => this.hearing.open()), new ResizeObserver(() => this.fit()).observe(this.element);
	}
	show(e, t) {
		this.picture = e, this.chosen = t, this.pointed = null, this.strands.clear(), this.space.style.height = `${this.size().height}px`, this.fit();
	}
	choose(e) {
		this.chosen = e, this.surface.redraw();
	}
	size() {
		let e = this.picture ? Math.max(this.picture.rows.labels.length, this.picture.columns.labels.length) : 0;
		return {
			width: this.picture ? this.strands.across(this.picture, this.surface.width) : 320,
			height: 30 + e * 25 + 8
		};
	}
	draw(e) {
		if (!this.picture) return;
		let { width: t, height: n } = this.size();
		e.rectangle(0, 0, t, n, this.picture.theme.ground), this.strands.draw(e, this.picture, t, 0, Infinity, this.chosen, !0);
	}
	fit() {
		this.picture && this.element.clientWidth && this.surface.resize(this.element.clientWidth, Math.min(this.element.clientHeight, this.size().height));
	}
	paint(e) {
		let { picture: t } = this;
		if (!t) return;
		let n = this.element.scrollTop, r = this.strands.across(t, this.surface.width);
		e.save(), e.translate(Math.floor((this.surface.width - r) / 2), -n), this.strands.draw(new R(e, t.theme.font), t, r, n, n + this.surface.height, this.pointed ?? this.chosen, !1), e.restore();
	}
	find(e) {
		let { picture: t } = this;
		if (!t) return null;
		let n = this.surface.canvas.getBoundingClientRect(), r = e.clientX - n.left, i = Math.floor((e.clientY - n.top + this.element.scrollTop - 30) / 25), a = r < this.surface.width / 2 ? "row" : "column", o = (a === "row" ? t.rows : t.columns).labels.length;
		return e.clientY - n.top > 26 && i >= 0 && i < o ? [a, i] : null;
	}
	point(e) {
		let t = this.pointed;
		this.pointed = e ? e[0] === "row" ? {
			row: e[1],
			column: null
		} : {
			row: this.chosen.row,
			column: e[1]
		} : null, (t?.row !== this.pointed?.row || t?.column !== this.pointed?.column) && (this.surface.redraw(), this.hearing.point(this.pointed));
	}
	click(e) {
		if (!e) return this.hearing.choose({
			row: null,
			column: null
		});
		let [t, n] = e;
		this.side = t;
		let r = this.chosen[t] === n && (t === "column" || this.chosen.column === null);
		t === "row" ? this.hearing.choose({
			row: r ? null : n,
			column: null
		}) : this.hearing.choose({
			row: this.chosen.row,
			column: r ? null : n
		});
	}
	key = (e) => {
		let { picture: t, chosen: n } = this;
		if (!t || e.ctrlKey || e.metaKey || e.altKey) return;
		let r = this.side === "row" ? t.rows : t.columns, i = n[this.side], a = r.labels.length - 1, o = {
			ArrowDown: (i ?? -1) + 1,
			ArrowUp: (i ?? 1) - 1,
			Home: 0,
			End: a,
			PageDown: (i ?? 0) + 12,
			PageUp: (i ?? 0) - 12
		};
		if (e.key in o) {
			let t = Math.max(0, Math.min(a, o[e.key]));
			this.hearing.choose(this.side === "row" ? {
				row: t,
				column: null
			} : {
				row: n.row,
				column: t
			}), this.reveal(t);
		} else if (e.key === "ArrowRight" && n.row !== null) {
			this.side = "column";
			let e = n.column ?? t.weights.strongest(n.row, 1)[0] ?? 0;
			this.hearing.choose({
				row: n.row,
				column: e
			}), this.reveal(e);
		} else if (e.key === "ArrowLeft" && n.row !== null) this.side = "row", this.hearing.choose({
			row: n.row,
			column: null
		}), this.reveal(n.row);
		else if (e.key === "Escape") this.side = "row", this.hearing.choose({
			row: null,
			column: null
		});
		else if (e.key === "Enter") this.hearing.open();
		else return;
		e.preventDefault();
	};
	reveal(e) {
		let t = 30 + e * 25, { scrollTop: n, clientHeight: r } = this.element;
		t - 30 < n ? this.element.scrollTop = t - 30 : t + 25 + 8 > n + r && (this.element.scrollTop = t + 25 + 8 - r);
	}
}, nt = 44, J = 12, rt = class {
	picture = null;
	place = {
		cell: 1,
		row: 0,
		column: 0
	};
	width = 0;
	height = 0;
	resize(e, t) {
		this.width = Math.max(1, Math.floor(t));
		let n = this.fitting(e), [, r] = this.gutters(e, n);
		this.height = Math.max(1, Math.floor(Math.min(it(), r + e.weights.rows * n + J))), this.whole();
	}
	extent(e, t) {
		let [n, r] = this.gutters(e, t, !1);
		return [Math.ceil(n + e.weights.columns * t + J), Math.ceil(r + e.weights.rows * t + J)];
	}
	gutters(e, t, n = !0) {
		let r = (n) => {
			let r = 24;
			for (let t of n.labels.slice(0, 400)) r = Math.max(r, F(M(t), 12, e.theme.font));
			return Math.min(r + 14, t < 4 ? 84 : 128, Math.max(64, this.width * .24));
		}, i = r(e.rows), a = n ? Math.max(0, this.width - i - e.weights.columns * t - J) : 0;
		return [i + Math.floor(a / 2), r(e.columns)];
	}
	whole() {
		this.picture && (this.place = {
			cell: this.fitting(this.picture),
			row: 0,
			column: 0
		});
	}
	zoom(e, t, n, r) {
		let { picture: i, place: a } = this;
		if (!i) return;
		let o = this.fitting(i), s = Math.max(o, Math.min(Math.max(nt, o), a.cell * e)), [c, l] = this.gutters(i, a.cell), [u, d] = [(t.column ?? -1) + .5, (t.row ?? -1) + .5], f = n === void 0 ? u > 0 ? u : a.column : a.column + (n - c) / a.cell, p = r === void 0 ? d > 0 ? d : a.row : a.row + (r - l) / a.cell, [m, h] = this.gutters(i, s), g = n === void 0 ? u > 0 ? (this.width - m) / 2 : 0 : n - m, _ = r === void 0 ? d > 0 ? (this.height - h) / 2 : 0 : r - h;
		this.place = {
			cell: s,
			column: f - g / s,
			row: p - _ / s
		}, this.bound();
	}
	pan(e, t) {
		this.place.column -= e / this.place.cell, this.place.row -= t / this.place.cell, this.bound();
	}
	reveal(e, t) {
		let { picture: n, place: r } = this;
		if (!n) return;
		let [i, a] = this.gutters(n, r.cell), [o, s] = [(this.width - i - J) / r.cell, (this.height - a - J) / r.cell];
		r.column = Math.max(t + 1 - o, Math.min(r.column, t)), r.row = Math.max(e + 1 - s, Math.min(r.row, e)), this.bound();
	}
	find(e, t) {
		let { picture: n, place: r } = this;
		if (!n) return null;
		let [i, a] = this.gutters(n, r.cell), o = Math.floor(r.column + (e - i) / r.cell), s = Math.floor(r.row + (t - a) / r.cell);
		return s >= 0 && o >= 0 && s < n.weights.rows && o < n.weights.columns && e >= i && t >= a ? {
			row: s,
			column: o
		} : null;
	}
	fitting(e) {
		let { rows: t, columns: n } = e.weights, [r, i] = this.gutters(e, 20, !1);
		return Math.min(nt, (this.width - r - J) / n, (it() - i - J) / t);
	}
	bound() {
		let { picture: e, place: t } = this;
		if (!e) return;
		let [n, r] = this.gutters(e, t.cell), i = (e, n, r) => Math.max(0, Math.min(e, n - r / t.cell));
		t.column = i(t.column, e.weights.columns, this.width - n - J), t.row = i(t.row, e.weights.rows, this.height - r - J);
	}
}, it = () => Math.max(320, Math.min(720, innerHeight - 200)), at = 34, ot = class {
	hearing;
	surface = new B((e) => this.paint(e));
	element;
	picture = null;
	pyramid = null;
	chosen = {
		row: null,
		column: null
	};
	pointed = null;
	sheet = new rt();
	fingers = /* @__PURE__ */ new Map();
	moved = !1;
	constructor(e, t) {
		this.hearing = e;
		let { canvas: n } = this.surface, r = (e, t, n) => C("button", {
			type: "button",
			class: "mf-round",
			"aria-label": t,
			title: t,
			onclick: n
		}, e), i = C("div", { class: "mf-zooms" }, r("+", t.zoomIn, () => this.zoom(1.5)), r("−", t.zoomOut, () => this.zoom(1 / 1.5)), r("⤢", t.zoomFit, () => this.zoom(null))), a = C("div", {
			class: "mf-matrix",
			tabindex: 0,
			role: "application",
			"aria-label": t.matrixLabel
		}, n);
		this.element = C("div", { class: "mf-stage mf-zoomable" }, a, i), a.addEventListener("keydown", this.key), n.addEventListener("wheel", this.wheel, { passive: !1 }), n.addEventListener("pointerdown", this.press), n.addEventListener("pointermove", this.move);
		for (let e of ["pointerup", "pointercancel"]) n.addEventListener(e, this.release);
		n.addEventListener("pointerleave", () => this.point(null)), n.addEventListener("dblclick", () => this.hearing.open()), new ResizeObserver(() => this.fit()).observe(this.element);
	}
	show(e, t) {
		let n = this.picture;
		this.picture = this.sheet.picture = e, this.pyramid = new Ye(e.weights, e.brightness), this.chosen = t, this.pointed = null, n && n.weights.rows === e.weights.rows && n.weights.columns === e.weights.columns ? this.surface.redraw() : this.fit();
	}
	choose(e) {
		this.chosen = e, this.surface.redraw();
	}
	size() {
		let { picture: e } = this;
		if (!e) return {
			width: 1,
			height: 1
		};
		let [t, n] = this.sheet.extent(e, this.exportCell(e));
		return {
			width: t,
			height: n
		};
	}
	draw(e) {
		let { picture: t } = this;
		if (!t) return;
		let { width: n, height: r } = this.size();
		e.rectangle(0, 0, n, r, t.theme.ground), this.strokes(e, t, {
			cell: this.exportCell(t),
			row: 0,
			column: 0
		}, n, r);
	}
	exportCell(e) {
		let t = Math.max(e.weights.rows, e.weights.columns, 1);
		return t <= 64 ? 22 : t <= 160 ? 12 : t <= 600 ? 3 : Math.max(.25, 2048 / t);
	}
	fit() {
		let e = this.element.clientWidth - at;
		!this.picture || e <= 0 || (this.sheet.resize(this.picture, e), this.surface.resize(this.sheet.width, this.sheet.height));
	}
	zoom(e, t, n) {
		e === null ? this.sheet.whole() : this.sheet.zoom(e, this.chosen, t, n), this.surface.redraw();
	}
	paint(e) {
		let { picture: t } = this;
		t && this.strokes(new R(e, t.theme.font), t, this.sheet.place, this.surface.width, this.surface.height, e);
	}
	strokes(e, t, n, r, i, a) {
		let { theme: o, weights: s } = t, { cell: c } = n, [l, u] = this.sheet.gutters(t, c, a !== void 0);
		if (!this.pyramid || !s.rows || !s.columns) return;
		let [d, f] = this.pyramid.at(c), p = c * 2 ** f, [m, h] = [Math.floor(n.column / 2 ** f), Math.floor(n.row / 2 ** f)], g = Math.min(d.columns - m, Math.ceil((r - l) / p) + 1), _ = Math.min(d.rows - h, Math.ceil((i - u) / p) + 1), v = l + m * p - n.column * c, y = u + h * p - n.row * c;
		if (a?.save(), a && (a.beginPath(), a.rect(l, u, r - l, i - u), a.clip()), e.picture(ae(d, o, m, h, g, _), v, y, g * p, _ * p), c >= 9) {
			for (let t = 1; t < g; t++) e.rectangle(v + t * c - .5, y, 1, _ * c, o.ground);
			for (let t = 1; t < _; t++) e.rectangle(v, y + t * c - .5, g * c, 1, o.ground);
		}
		e.frame(l - n.column * c + .5, u - n.row * c + .5, s.columns * c - 1, s.rows * c - 1, o.rule, 1);
		let b = this.pointed ?? this.chosen;
		if (b.row !== null && b.column !== null) {
			let [t, r] = [l + (b.column - n.column) * c, u + (b.row - n.row) * c], i = Math.max(c, 5);
			e.frame(t + (c - i) / 2, r + (c - i) / 2, i, i, o.second, 2);
		} else b.row !== null && e.frame(l, u + (b.row - n.row) * c, s.columns * c, Math.max(c, 3), o.second, 1.5);
		a?.restore(), this.letters(e, t, n, r, i, l, u, b);
	}
	letters(e, t, n, r, i, a, o, s) {
		let { theme: c } = t, l = Math.max(1, Math.ceil(15 / n.cell)), u = (e, t, r, i, a) => {
			let o = Math.max(0, Math.floor(t)), s = Math.min(e.labels.length - 1, Math.ceil(t + r / n.cell));
			for (let r = Math.ceil(o / l) * l; r <= s; r += l) i !== null && r !== i && Math.abs(r - i) * n.cell < 14 || a((r + .5 - t) * n.cell, M(e.labels[r]), r === i, e.labels[r].special);
			i !== null && i % l !== 0 && i >= o && i <= s && a((i + .5 - t) * n.cell, M(e.labels[i]), !0, !1);
		}, d = (e, t) => ({
			size: 12,
			weight: e ? 700 : 400,
			colour: e || !t && l === 1 ? c.ink : c.soft
		});
		u(t.rows, n.row, i - o, s.row, (t, n, r, s) => {
			t < -2 || o + t > i || e.write(a - 7, o + t, I(n, 12, c.font, 122), {
				...d(r, s),
				align: "end"
			});
		}), u(t.columns, n.column, r - a, s.column, (t, n, i, s) => {
			t < -2 || a + t > r || e.write(a + t, o - 7, I(n, 12, c.font, o - 12), {
				...d(i, s),
				upwards: !0
			});
		});
	}
	find(e) {
		let t = this.surface.canvas.getBoundingClientRect();
		return this.sheet.find(e.clientX - t.left, e.clientY - t.top);
	}
	point(e) {
		(e?.row !== this.pointed?.row || e?.column !== this.pointed?.column) && (this.pointed = e, this.surface.redraw(), this.hearing.point(e));
	}
	wheel = (e) => {
		(e.ctrlKey || e.metaKey) && (e.preventDefault(), this.zoom(Math.exp(-e.deltaY * .01), e.offsetX, e.offsetY));
	};
	press = (e) => {
		this.fingers.set(e.pointerId, e), this.moved = !1, this.surface.canvas.setPointerCapture(e.pointerId);
	};
	move = (e) => {
		let t = this.fingers.get(e.pointerId);
		if (!t) return this.point(this.find(e));
		let n = [...this.fingers.values()].filter(({ pointerId: t }) => t !== e.pointerId);
		if (this.fingers.set(e.pointerId, e), n.length) {
			let r = (e) => Math.hypot(e.clientX - n[0].clientX, e.clientY - n[0].clientY);
			this.zoom(r(e) / Math.max(1, r(t)), e.offsetX, e.offsetY), this.moved = !0;
			return;
		}
		let [r, i] = [e.clientX - t.clientX, e.clientY - t.clientY];
		!this.moved && Math.hypot(r, i) < 4 ? this.fingers.set(e.pointerId, t) : (this.moved = !0, this.sheet.pan(r, i), this.surface.redraw());
	};
	release = (e) => {
		this.fingers.delete(e.pointerId), !this.moved && e.type === "pointerup" && this.hearing.choose(this.find(e) ?? {
			row: null,
			column: null
		});
	};
	key = (e) => {
		let { picture: t, chosen: n } = this;
		if (!t || e.ctrlKey || e.metaKey || e.altKey) return;
		let r = {
			ArrowUp: [-1, 0],
			ArrowDown: [1, 0],
			ArrowLeft: [0, -1],
			ArrowRight: [0, 1]
		}[e.key];
		if (r) {
			let e = (e, t) => Math.max(0, Math.min(t - 1, e)), i = n.row === null ? 0 : e(n.row + r[0], t.weights.rows), a = n.column === null ? 0 : e(n.column + r[1], t.weights.columns);
			this.hearing.choose({
				row: i,
				column: a
			}), this.sheet.reveal(i, a), this.surface.redraw();
		} else if (e.key === "+" || e.key === "=") this.zoom(1.5);
		else if (e.key === "-") this.zoom(1 / 1.5);
		else if (e.key === "0") this.zoom(null);
		else if (e.key === "Enter") this.hearing.open();
		else if (e.key === "Escape") this.hearing.choose({
			row: null,
			column: null
		});
		else return;
		e.preventDefault();
	};
}, st = class {
	hearing;
	surface = new B((e) => this.paint(e));
	chips = C("div", { class: "mf-chips" });
	element;
	picture = null;
	bitmap = null;
	loaded = "";
	chosen = {
		row: null,
		column: null
	};
	pointed = null;
	constructor(e, t) {
		this.hearing = e;
		let { canvas: n } = this.surface, r = C("div", {
			class: "mf-patches",
			tabindex: 0,
			role: "application",
			"aria-label": t
		}, n);
		this.element = C("div", { class: "mf-stage" }, this.chips, r), r.addEventListener("keydown", this.key), n.addEventListener("click", (e) => this.hearing.choose({
			row: this.find(e),
			column: null
		})), n.addEventListener("dblclick", () => this.hearing.open()), n.addEventListener("pointermove", (e) => this.point(this.find(e))), n.addEventListener("pointerleave", () => this.point(null)), new ResizeObserver(() => this.fit()).observe(this.element);
	}
	show(e, t) {
		this.picture = e, this.chosen = t, this.chips.replaceChildren(...e.rows.labels.flatMap((e, t) => e.special ? [C("button", {
			type: "button",
			class: "mf-chip",
			"data-row": t,
			onclick: () => this.hearing.choose({
				row: t,
				column: null
			})
		}, M(e))] : [])), this.load(e.to), this.choose(t), this.fit();
	}
	choose(e) {
		this.chosen = e;
		let t = this.row();
		for (let e of this.chips.children) e.setAttribute("aria-pressed", String(Number(e.dataset.row) === t));
		this.surface.redraw();
	}
	size() {
		let [e, t] = this.grid(), n = Math.max(8, Math.floor(720 / Math.max(e, t)));
		return {
			width: t * n,
			height: e * n
		};
	}
	draw(e) {
		let { width: t, height: n } = this.size();
		this.strokes(e, t, n);
	}
	grid() {
		return this.picture?.to.grid ?? [1, 1];
	}
	row() {
		let { picture: e } = this;
		if (!e) return null;
		if (this.chosen.row !== null) return this.chosen.row;
		let t = e.rows.labels.findIndex((e) => e.special);
		return t >= 0 ? t : null;
	}
	async load(e) {
		let t = e.picture ?? "";
		if (t === this.loaded) return;
		this.loaded = t;
		let [n, r] = t.split(",", 2);
		/^data:image\/(png|jpeg);base64$/.test(n) && r && (this.bitmap = await createImageBitmap(new Blob([k(r)], { type: n.slice(5, -7) })).catch(() => null), this.surface.redraw());
	}
	fit() {
		let e = this.element.clientWidth;
		if (!this.picture || !e) return;
		let [t, n] = this.grid(), r = Math.min(e / n, Math.max(320, Math.min(620, innerHeight - 240)) / t);
		this.surface.resize(n * r, t * r);
	}
	paint(e) {
		this.picture && this.strokes(new R(e, this.picture.theme.font), this.surface.width, this.surface.height);
	}
	strokes(e, t, n) {
		let { picture: r } = this;
		if (!r) return;
		let [i, a] = this.grid(), { weights: o, theme: s } = r, c = this.row(), [l, u] = [t / a, n / i];
		if (this.bitmap && e.picture(ct(this.bitmap, c === null ? 1 : .55, s.ground), 0, 0, t, n), c !== null && c < o.rows) {
			let r = ae({
				rows: i,
				columns: a,
				values: this.patches(c, i * a),
				signs: null
			}, s, 0, 0, a, i);
			e.picture(lt(r, this.patches(c, i * a)), 0, 0, t, n);
		}
		let d = (t, n, r) => e.frame(t % a * l + 1, Math.floor(t / a) * u + 1, l - 2, u - 2, n, r);
		this.pointed !== null && d(this.patchOf(this.pointed), s.ink, 1), this.chosen.row !== null && this.patchOf(this.chosen.row) >= 0 && d(this.patchOf(this.chosen.row), s.second, 2.5), e.frame(.5, .5, t - 1, n - 1, v(_(s.scale, 30)), 1);
	}
	patches(e, t) {
		let { weights: n, columns: r } = this.picture, i = new Uint8Array(t), a = 1;
		return r.labels.forEach((t, r) => {
			t.special || (a = Math.max(a, n.shares[e * n.columns + r]));
		}), r.labels.forEach((r, o) => {
			let s = this.patchOf(o);
			!r.special && s < t && (i[s] = 255 * n.shares[e * n.columns + o] / a);
		}), i;
	}
	patchOf(e) {
		let { columns: t, to: n } = this.picture;
		return (t.labels[e]?.tokens[0] ?? -1) - n.tokens.findIndex(({ special: e }) => !e);
	}
	rowOf(e) {
		let { rows: t, from: n } = this.picture, r = e + n.tokens.findIndex(({ special: e }) => !e), i = t.labelOf[r];
		return i === void 0 || i < 0 ? null : i;
	}
	find(e) {
		if (!this.picture) return null;
		let [t, n] = this.grid(), r = this.surface.canvas.getBoundingClientRect(), i = Math.floor((e.clientX - r.left) / r.width * n), a = Math.floor((e.clientY - r.top) / r.height * t);
		return i >= 0 && a >= 0 && i < n && a < t ? this.rowOf(a * n + i) : null;
	}
	point(e) {
		e !== this.pointed && (this.pointed = e, this.surface.redraw(), this.hearing.point(e === null ? null : {
			row: this.row(),
			column: e
		}));
	}
	key = (e) => {
		if (!this.picture || e.ctrlKey || e.metaKey || e.altKey) return;
		let [t, n] = this.grid(), r = {
			ArrowRight: 1,
			ArrowLeft: -1,
			ArrowDown: n,
			ArrowUp: -n
		};
		if (e.key in r) {
			let i = this.chosen.row === null ? -1 : this.patchOf(this.chosen.row), a = i < 0 ? 0 : i + r[e.key];
			a >= 0 && a < t * n && this.hearing.choose({
				row: this.rowOf(a),
				column: null
			});
		} else if (e.key === "Escape") this.hearing.choose({
			row: null,
			column: null
		});
		else return;
		e.preventDefault();
	};
};
function ct(e, t, n) {
	let r = document.createElement("canvas");
	[r.width, r.height] = [e.width, e.height];
	let i = r.getContext("2d");
	return i && (i.fillStyle = n, i.fillRect(0, 0, r.width, r.height), i.globalAlpha = t, i.drawImage(e, 0, 0)), r;
}
function lt(e, t) {
	let n = e.getContext("2d");
	if (!n) return e;
	let r = n.getImageData(0, 0, e.width, e.height);
	for (let e = 0; e < t.length; e++) r.data[4 * e + 3] = 30 + .72 * t[e];
	return n.putImageData(r, 0, 0), e;
}
// src/weights/positions.ts
function ut(e, t) {
	let { rows: n, columns: r, shares: i, tops: a } = e, o = new Float64Array(2 * t + 1), s = new Uint32Array(2 * t + 1), c = new Float32Array(r);
	for (let e = 0; e < n; e++) {
		let l = a[e] / 255, u = e * r;
		for (let e = 0; e < r; e++) c[e] += i[u + e] * l / n;
		for (let n = Math.max(0, e - t); n <= Math.min(r - 1, e + t); n++) o[n - e + t] += i[u + n] * l, s[n - e + t]++;
	}
	return {
		offsets: Array.from(o, (e, t) => s[t] ? e / s[t] : null),
		reach: t,
		received: c
	};
}
// src/views/positions.ts
var dt = 16, ft = 150, Y = 12, X = 44, pt = class {
	surface = new B((e) => this.paint(e));
	table = C("div", { class: "mf-unseen" });
	element = C("div", { class: "mf-stage" });
	picture = null;
	found = null;
	constructor(e) {
		this.surface.canvas.setAttribute("aria-hidden", "true"), this.element.append(this.surface.canvas, this.table), this.surface.canvas.addEventListener("pointermove", (t) => e.point(this.find(t))), this.surface.canvas.addEventListener("pointerleave", () => e.point(null)), new ResizeObserver(() => this.fit()).observe(this.element);
	}
	show(e) {
		this.picture = e, this.found = ut(e.weights, this.reach(e)), this.tell(e, this.found), this.fit();
	}
	choose() {}
	size() {
		return {
			width: 760,
			height: this.height()
		};
	}
	draw(e) {
		let { width: t, height: n } = this.size();
		this.picture && e.rectangle(0, 0, t, n, this.picture.theme.ground), this.strokes(e, t);
	}
	reach(e) {
		return Math.max(1, Math.min(dt, Math.max(e.weights.rows, e.weights.columns) - 1));
	}
	height() {
		return 402 + (this.picture && this.picture.columns.labels.length <= 60 ? 96 : 30);
	}
	fit() {
		this.picture && this.element.clientWidth && this.surface.resize(this.element.clientWidth, this.height());
	}
	paint(e) {
		this.picture && this.strokes(new R(e, this.picture.theme.font), this.surface.width);
	}
	strokes(e, t) {
		let { picture: n, found: r } = this;
		if (!n || !r) return;
		let { theme: i, words: a, columns: o } = n, s = v(_(i.scale, i.dark ? 165 : 160)), c = v(_(i.scale, 150, !0)), l = (t, n) => e.write(0, t, n, {
			size: 13,
			colour: i.ink,
			weight: 600
		}), u = (n, r) => {
			e.rectangle(X, n, t - X, 1, i.rule), e.write(36, n - ft + 6, mt(r), {
				size: Y,
				colour: i.soft,
				align: "end"
			}), e.write(36, n - 5, "0", {
				size: Y,
				colour: i.soft,
				align: "end"
			});
		};
		l(10, a.offsetsTitle);
		let d = r.offsets.map((e) => e ?? 0), f = Math.max(1e-9, ...d.map(Math.abs)), p = (t - X) / d.length, m = Math.min(4, p * .2);
		d.forEach((t, n) => {
			let a = n - r.reach, o = Math.abs(t) / f * 146;
			if (o > 0 && e.rectangle(X + n * p + m / 2, 176 - o, p - m, o, t < 0 ? c : s), a % (p < 24 ? 4 : p < 34 ? 2 : 1) == 0) {
				let t = a > 0 ? `+${a}` : a < 0 ? `−${-a}` : "0";
				e.write(X + (n + .5) * p, 190, t, {
					size: Y,
					colour: a === 0 ? i.ink : i.soft,
					align: "middle"
				});
			}
		}), u(176, f), l(226, a.receivedTitle);
		let h = Math.max(1e-9, ...Array.from(r.received, Math.abs)), g = (t - X) / Math.max(1, r.received.length), y = g > 6 ? 2 : 0;
		r.received.forEach((t, n) => {
			let r = Math.abs(t) / h * 146;
			if (e.rectangle(X + n * g + y / 2, 390 - r, Math.max(1, g - y), r, t < 0 ? c : s), o.labels.length > 60 || g < 13) return;
			let a = I(M(o.labels[n]), Y, i.font, 84);
			e.write(X + (n + .5) * g, 398, a, {
				size: Y,
				colour: i.soft,
				align: "end",
				upwards: !0
			});
		}), u(390, h);
	}
	find(e) {
		let { found: t } = this;
		if (!t) return null;
		let n = this.surface.canvas.getBoundingClientRect();
		if (e.clientY - n.top < 226) return null;
		let r = Math.floor((e.clientX - n.left - X) / (n.width - X) * t.received.length);
		return r >= 0 && r < t.received.length ? {
			row: null,
			column: r
		} : null;
	}
	tell(e, t) {
		let n = C("table", {}, C("caption", {}, e.words.offsetsTitle));
		t.offsets.forEach((e, r) => {
			e !== null && n.append(C("tr", {}, C("th", { scope: "row" }, String(r - t.reach)), C("td", {}, e.toFixed(4))));
		}), this.table.replaceChildren(n);
	}
}, mt = (e) => e >= .1 ? e.toFixed(2) : e.toPrecision(1), ht = 16, gt = 30, _t = 760, vt = class {
	hearing;
	label;
	element = C("div", { class: "mf-scroll mf-reading" });
	picture = null;
	chosen = {
		row: null,
		column: null
	};
	fromTokens = [];
	toTokens = [];
	constructor(e, t) {
		this.hearing = e, this.label = t, this.element.addEventListener("keydown", this.key);
	}
	show(e, t) {
		let { rows: n, columns: r, words: i, from: a, to: o } = e, s = this.element.contains(document.activeElement);
		this.picture = e, this.chosen = t;
		let c = a === o, [l, u] = this.block(n, this.label, (e) => this.hearing.choose({
			row: e,
			column: null
		}));
		if (this.fromTokens = u, c) this.toTokens = u, this.element.replaceChildren(l);
		else {
			let [e, t] = this.block(r, i.key, (e) => this.hearing.choose({
				...this.chosen,
				column: e
			}));
			this.toTokens = t;
			let n = (e) => C("p", { class: "mf-small" }, e);
			this.element.replaceChildren(n(i.query), l, n(i.key), e);
		}
		this.paint(), s && this.current()?.focus();
	}
	choose(e) {
		let t = this.element.contains(document.activeElement);
		this.chosen = e, this.paint(), t && this.current()?.focus();
	}
	current() {
		return this.fromTokens[this.chosen.row ?? 0];
	}
	block(e, t, n) {
		let r = C("div", {
			class: "mf-tokens",
			role: "listbox",
			"aria-label": t
		}), i = e.labels.map((t, r) => {
			let i = C("span", {
				class: t.special ? "mf-token mf-special" : "mf-token",
				role: "option",
				tabindex: -1
			}, M(t));
			return i.addEventListener("click", () => n(r)), i.addEventListener("pointerenter", () => this.hearing.point(this.pointing(e, r))), i.addEventListener("pointerleave", () => this.hearing.point(null)), i;
		});
		return r.append(...i), [r, i];
	}
	pointing(e, t) {
		return this.chosen.row === null || e === this.picture?.rows && this.fromTokens !== this.toTokens ? {
			row: t,
			column: null
		} : {
			row: this.chosen.row,
			column: t
		};
	}
	paint() {
		let { picture: e, chosen: t } = this;
		e && (this.fromTokens.forEach((e, n) => {
			e.tabIndex = n === (t.row ?? 0) ? 0 : -1, e.setAttribute("aria-selected", String(n === t.row));
		}), this.toTokens.forEach((n, r) => {
			let [i, a] = this.shade(e, r);
			n.style.backgroundColor = i, n.style.color = a, n.classList.toggle("mf-chosen", this.toTokens === this.fromTokens ? r === t.row : r === t.column);
		}), this.toTokens !== this.fromTokens && this.fromTokens.forEach((e, n) => e.classList.toggle("mf-chosen", n === t.row)));
	}
	shade(e, t) {
		let { weights: n, theme: r, brightness: i } = e, { row: a } = this.chosen;
		if (a === null || a >= n.rows) return ["", ""];
		let o = a * n.columns + t, s = G(n, a, n.shares[o], i);
		if (s < 1) return ["", ""];
		let c = _(r.scale, s, n.signs?.[o] === 1);
		return [v(c), y(c)];
	}
	size() {
		let e = 0;
		return this.lay((t, n) => e = n), {
			width: 792,
			height: e + gt + 8
		};
	}
	draw(e) {
		let { picture: t } = this;
		if (!t) return;
		let { width: n, height: r } = this.size();
		e.rectangle(0, 0, n, r, t.theme.ground), this.lay((n, r, i, a, o) => {
			let [s, c] = this.shade(t, o);
			s && e.rectangle(n, r - 12, a + 8, 24, s), o === this.chosen.row && e.frame(n, r - 12, a + 8, 24, t.theme.accent, 1.5), e.write(n + 4, r, i, {
				size: ht,
				colour: c || t.theme.ink
			});
		});
	}
	lay(e) {
		let { picture: t } = this, [n, r] = [16, 31];
		t?.columns.labels.forEach((i, a) => {
			let o = M(i), s = F(o, ht, t.theme.font);
			n + s + 8 > _t && n > 16 && ([n, r] = [16, r + gt]), e(n, r, o, s, a), n += s + 12;
		});
	}
	key = (e) => {
		let { picture: t, chosen: n } = this;
		if (!t || e.ctrlKey || e.metaKey || e.altKey) return;
		let r = t.rows.labels.length - 1, i = n.row ?? -1, a = {
			ArrowRight: i + 1,
			ArrowDown: i + 1,
			ArrowLeft: i - 1,
			ArrowUp: i - 1,
			Home: 0,
			End: r
		};
		if (e.key in a) this.hearing.choose({
			row: Math.max(0, Math.min(r, a[e.key])),
			column: null
		});
		else if (e.key === "Escape") this.hearing.choose({
			row: null,
			column: null
		});
		else if (e.key === "Enter") this.hearing.open();
		else return;
		e.preventDefault();
	};
}, yt = class e {
	labels;
	length;
	labelOf;
	constructor(e, t) {
		this.labels = e, this.length = t, this.labelOf = new Int32Array(t).fill(-1), e.forEach((e, t) => e.tokens.forEach((e) => this.labelOf[e] = t));
	}
	static of(t, n) {
		let r = [], i = null;
		return t.tokens.forEach((e, a) => {
			let o = e.special && !n.specials || a === 0 && !n.first, s = n.words && !e.special && e.word !== null && e.word === i && r.length > 0;
			if (i = o || e.special ? null : e.word, o) return;
			if (!s) {
				let t = e.part ? `${e.part[0]}/${e.part[1]}` : "";
				r.push({
					text: e.text,
					special: e.special,
					part: t,
					tokens: [a]
				});
				return;
			}
			let c = r[r.length - 1];
			c.tokens.push(a), c.part = "", c.text = bt(t, c.tokens);
		}), new e(r, t.tokens.length);
	}
	get plain() {
		return this.labels.length === this.length;
	}
};
function bt(e, t) {
	let n = e.tokens[t[0]].start, r = e.tokens[t[t.length - 1]].end;
	if (r > n) {
		let t = St(e).slice(n, r).join("");
		if (t.trim()) return t;
	}
	return t.map((t) => e.tokens[t]).filter(({ part: e }) => !e || e[0] === 1).map(({ text: e }) => e).join("");
}
var xt = /* @__PURE__ */ new WeakMap();
function St(e) {
	let t = xt.get(e);
	return t || xt.set(e, t = Array.from(e.text)), t;
}
// src/weights/regroup.ts
function Ct(e, t, n) {
	if (t.plain && n.plain) return e;
	let [r, i] = [t.labels.length, n.labels.length], o = new Float32Array(r * i), s = new Float32Array(i);
	return t.labels.forEach((t, r) => {
		s.fill(0);
		for (let r of t.tokens) {
			let i = e.tops[r] / 255 / t.tokens.length, a = r * e.columns;
			for (let t = 0; t < e.columns; t++) {
				let r = n.labelOf[t];
				r >= 0 && (s[r] += e.shares[a + t] * i);
			}
		}
		o.set(s, r * i);
	}), a.of(o, r, i);
}
// src/panels/legend.ts
var Z = 128, wt = class {
	low = C("span", {});
	high = C("span", {});
	canvas = C("canvas", {
		width: Z,
		height: 1,
		class: "mf-scale",
		"aria-hidden": "true"
	});
	element = C("div", { class: "mf-small mf-legend" }, this.low, this.canvas, this.high);
	show(e, t) {
		let { weights: n, brightness: r, theme: i } = e, a = r === "head" ? O(n.top) : t.strong;
		this.low.textContent = n.signs ? `−${r === "head" ? a : ""}` : t.weak, this.high.textContent = n.signs ? `+${r === "head" ? a : ""}` : a;
		let o = this.canvas.getContext("2d");
		if (!o) return;
		let s = o.createImageData(Z, 1);
		for (let e = 0; e < Z; e++) {
			let t = e / 127, r = n.signs ? _(i.scale, 255 * Math.abs(2 * t - 1), t < .5) : _(i.scale, 255 * t);
			s.data.set([...r, 255], 4 * e);
		}
		o.putImageData(s, 0, 0);
	}
}, Tt = class {
	desk;
	store;
	words;
	open;
	fail;
	element;
	caption = C("p", { class: "mf-caption" });
	stage = C("div", { class: "mf-view" });
	readout = C("p", {
		class: "mf-readout",
		"aria-live": "polite"
	});
	legend = new wt();
	brightness;
	views = /* @__PURE__ */ new Map();
	view = null;
	viewName = null;
	picture = null;
	shown = "";
	wanted = "";
	state = null;
	recording = null;
	constructor(e, t, n, r, i) {
		this.desk = e, this.store = t, this.words = n, this.open = r, this.fail = i;
		let a = (e, t, n) => C("button", {
			type: "button",
			class: "mf-quiet",
			"aria-label": t,
			title: t,
			onclick: () => this.view && this.picture && n(this.view, this.picture)
		}, e), o = () => `${this.recording?.model.name}-${this.state?.attention}-${this.state?.what === "head" ? `${this.state.layer}-${this.state.head}` : this.state?.what}`, s = C("div", {
			class: "mf-exports",
			role: "group",
			"aria-label": n.exporting
		}, a("SVG", n.exportAs("SVG"), (e, t) => We(e, t, o())), a("PNG", n.exportAs("PNG"), (e, t) => Ge(e, t, o())), a("JSON", n.exportData, (e, t) => this.recording && this.state && Ke(this.recording, this.state, t, o())));
		this.brightness = new w(n.brightness, (e) => t.set({ brightness: e }));
		let c = C("div", { class: "mf-row mf-between mf-foot" }, C("div", { class: "mf-row" }, this.legend.element, this.brightness.element), s);
		this.element = C("div", { class: "mf-pane" }, this.caption, this.stage, this.readout, c);
	}
	async show(e, t, r, i, a) {
		this.state = e, this.recording = t, this.caption.hidden = !a, this.caption.textContent = r ? `${this.words.difference}: ${this.words.differenceHint}` : L(t);
		let { attention: o, layer: s, head: c, what: l, view: u, target: d, shown: f } = e, p = r ? "head" : e.brightness;
		this.brightness.set(Je.map((e) => ({
			value: e,
			label: this.words.brightnesses[e]
		})), p), this.brightness.element.hidden = u === "positions" || u === "picture" || r !== null, this.legend.element.hidden = u === "positions";
		let m = JSON.stringify([
			t.id,
			r?.id,
			o,
			s,
			c,
			l,
			u,
			d,
			e.token,
			f,
			p,
			i.dark
		]);
		if (m === this.shown) return this.choose();
		this.wanted = m, this.stage.setAttribute("aria-busy", "true");
		try {
			let [a, s] = await Promise.all([this.desk.weights(t, e), r ? this.desk.weights(r, e) : null]);
			if (this.wanted !== m) return;
			let { queries: c, keys: l } = n(t, o), [d, h] = [t.sequences[c], t.sequences[l]], g = yt.of(d, f), _ = d === h ? g : yt.of(h, f), v = Ct(a, g, _);
			this.picture = {
				weights: s ? v.minus(Ct(s, g, _)) : v,
				rows: g,
				columns: _,
				from: d,
				to: h,
				brightness: p,
				theme: i,
				words: this.words
			}, this.shown = m, this.use(u), this.view?.show(this.picture, this.chosen()), this.legend.show(this.picture, this.words), this.read(this.chosen());
		} catch (e) {
			this.wanted === m && this.fail(e);
		} finally {
			this.wanted === m && this.stage.removeAttribute("aria-busy");
		}
	}
	label(e, t) {
		let n = this.picture?.[e], r = n?.labels[n.labelOf[t] ?? -1];
		return r ? M(r) : "";
	}
	choose() {
		this.view?.choose(this.chosen()), this.read(this.chosen());
	}
	chosen() {
		let { picture: e, state: t } = this, n = (e, t) => {
			let n = t == null ? -1 : e?.labelOf[t] ?? -1;
			return n < 0 ? null : n;
		};
		return {
			row: n(e?.rows, t?.query),
			column: n(e?.columns, t?.key)
		};
	}
	use(e) {
		let { picture: t } = this;
		!t || t.rows.labels.length === 0 || t.columns.labels.length === 0 ? (this.view = this.viewName = null, this.stage.replaceChildren(C("p", { class: "mf-small" }, this.words.empty))) : this.viewName !== e && (this.viewName = e, this.view = this.views.get(e) ?? this.make(e), this.views.set(e, this.view), this.stage.replaceChildren(this.view.element));
	}
	make(e) {
		let { words: t } = this, n = {
			choose: ({ row: e, column: t }) => this.store.set({
				query: e === null ? null : this.picture?.rows.labels[e]?.tokens[0] ?? null,
				key: t === null ? null : this.picture?.columns.labels[t]?.tokens[0] ?? null
			}),
			point: (e) => this.read(e ?? this.chosen()),
			open: this.open
		};
		return e === "matrix" ? new ot(n, t) : e === "text" ? new vt(n, t.textLabel) : e === "picture" ? new st(n, t.pictureLabel) : e === "positions" ? new pt(n) : new tt(n, t.linesLabel);
	}
	read({ row: e, column: t }) {
		let { picture: n, words: r } = this;
		if (!n || !this.view) {
			this.readout.textContent = "";
			return;
		}
		let { weights: i, rows: a, columns: o } = n;
		if (this.viewName === "positions") {
			let n = t === null ? 0 : Array.from({ length: i.rows }, (e, n) => i.at(n, t)).reduce((e, t) => e + t, 0) / i.rows;
			this.readout.textContent = t === null || e !== null ? "" : `${M(o.labels[t])} ${O(n)}`;
			return;
		}
		let s = (e) => M(a.labels[e]), c = (e) => M(o.labels[e]);
		if (e !== null && t !== null) this.readout.textContent = `${r.looksAt(s(e), c(t))}: ${O(i.at(e, t))}`;
		else if (e !== null) {
			let t = i.strongest(e, 5).map((t) => `${c(t)} ${O(i.at(e, t))}`);
			this.readout.textContent = r.looksAt(s(e), t.join("   "));
		} else if (t !== null) {
			let e = Array.from({ length: i.rows }, (e, n) => [i.at(n, t), n]).sort((e, t) => t[0] - e[0]).slice(0, 5).map(([e, t]) => `${s(t)} ${O(e)}`);
			this.readout.textContent = r.lookedAt(c(t), e.join("   "));
		} else this.readout.textContent = this.viewName === "picture" ? r.chooseInPicture : r.chooseToken;
	}
}, Et = [
	"head",
	"rollout",
	"gradient",
	"lens",
	"written"
], Dt = [
	"lines",
	"matrix",
	"text",
	"picture",
	"positions"
], Ot = class {
	desk;
	store;
	words;
	fail;
	element;
	first;
	second;
	whats;
	views;
	target;
	words_;
	specials;
	firstToken;
	difference;
	differenceNot = C("span", { class: "mf-small" });
	about = C("p", { class: "mf-small" });
	title = C("h2", { "aria-live": "polite" });
	headTools;
	offNot;
	offEffects;
	switchHead;
	switchLayer;
	scores = C("dl", { class: "mf-scores" });
	panes = C("div", { class: "mf-panes" });
	tools;
	others = C("div", { class: "mf-others" });
	lens;
	written;
	asked = "";
	constructor(e, t, r, i, a, o) {
		this.desk = e, this.store = t, this.words = r, this.fail = o, this.whats = new E(r.what, Et.map((e) => ({
			value: e,
			label: r.whats[e]
		})), (e) => t.set({ what: e })), this.whats.element.classList.add("mf-tabs"), this.views = new E(r.view, Dt.map((e) => ({
			value: e,
			label: r.views[e]
		})), (e) => t.set({ view: e })), this.target = new w(r.target, (e) => e !== "token" && t.set({
			target: Number(e),
			token: null
		}));
		let s = () => t.state.shown;
		this.words_ = new T(r.mergeWords, (e) => t.set({ shown: {
			...s(),
			words: e
		} })), this.specials = new T(r.hideSpecials, (e) => t.set({ shown: {
			...s(),
			specials: !e
		} })), this.firstToken = new T(r.hideFirst, (e) => t.set({ shown: {
			...s(),
			first: !e
		} })), this.difference = new T(r.difference, (e) => t.set({ difference: e })), this.switchHead = C("button", {
			type: "button",
			class: "mf-button",
			onclick: () => i([[t.state.layer, t.state.head]])
		}), this.switchLayer = C("button", {
			type: "button",
			class: "mf-button",
			onclick: () => {
				let { heads: r } = n(e.recording(t.state.recording), t.state.attention);
				i(Array.from({ length: r }, (e, n) => [t.state.layer, n]));
			}
		});
		let c = (e, t, n) => C("button", {
			type: "button",
			class: "mf-round",
			"aria-label": t,
			title: t,
			onclick: () => this.step(n)
		}, e);
		this.headTools = C("div", { class: "mf-row" }, c("←", r.previousHead, -1), c("→", r.nextHead, 1), this.switchHead, this.switchLayer), this.offEffects = C("span", {}, ` ${r.offEffects}`), this.offNot = C("p", { class: "mf-small" }, `${r.offNot} `, C("code", {}, ze), this.offEffects), this.tools = C("div", { class: "mf-row mf-tools" }, this.views.element, this.target.element, this.words_.element, this.specials.element, this.firstToken.element, this.difference.element, this.differenceNot), this.first = new Tt(e, t, r, a, o), this.second = new Tt(e, t, r, a, o), this.lens = new Fe(r), this.written = new je(r, (e) => t.set({
			what: "gradient",
			token: e,
			query: e - 1,
			key: null
		})), this.element = C("section", {
			class: "mf-card mf-stagecard",
			"aria-label": r.attention
		}, this.whats.element, C("div", { class: "mf-row mf-between mf-heading" }, this.title, this.headTools), this.scores, this.offNot, this.about, this.tools, this.panes, this.others);
	}
	show(e, t, i, a, o) {
		let { words: s } = this, c = n(t, e.attention), l = e.what === "head" || e.what === "rollout" || e.what === "gradient";
		this.whats.set(e.what, (e) => kt(t, c, e)), this.views.set(e.view, (e) => Q(t, c).includes(e));
		let u = e.off.some(([t, n, r]) => t === c.name && n === e.layer && r === e.head), d = e.off.filter(([t, n]) => t === c.name && n === e.layer).length;
		this.title.textContent = e.what === "head" ? s.headName(e.layer, e.head) : s.whats[e.what], this.headTools.hidden = e.what !== "head", this.switchHead.hidden = this.switchLayer.hidden = !r(t, "off"), this.offNot.hidden = r(t, "off") || e.what !== "head", this.offEffects.hidden = !r(t, "effects", c.name), this.switchHead.textContent = u ? s.switchOn : s.switchOff, this.switchHead.setAttribute("aria-pressed", String(u)), this.switchLayer.textContent = d === c.heads ? s.switchLayerOn : s.switchLayerOff, this.scores.replaceChildren(...e.what === "head" ? At(c, e, s) : []), this.about.textContent = s.abouts[e.what], this.about.hidden = !s.abouts[e.what], this.tools.hidden = this.panes.hidden = !l, this.others.hidden = l, l ? this.weigh(e, t, i, c, o) : e.what === "written" ? (this.others.replaceChildren(this.written.element), this.written.show(t, a, o, (e) => r(t, "gradient", c.name) && this.desk.has("gradient", {
			recording: t.id,
			attention: c.name,
			token: e
		}))) : this.askLens(e, t, o);
	}
	weigh(e, t, n, r, a) {
		let { words: o } = this, s = Q(t, r).includes("picture");
		this.words_.set(e.shown.words), this.words_.element.hidden = s, this.specials.set(!e.shown.specials), this.firstToken.set(!e.shown.first), this.firstToken.element.hidden = s, this.target.element.hidden = e.what !== "gradient";
		let c = (t.prediction?.labels ?? []).map((e, t) => ({
			value: String(t),
			label: j(e)
		})), l = (e) => this.desk.has("gradient", {
			recording: t.id,
			attention: r.name,
			target: Number(e)
		}), u = e.what === "gradient" ? c.filter(({ value: e }) => l(e)) : [], { token: d } = e;
		if (d !== null && t.written) {
			let e = j(t.sequences[t.written.sequence].tokens[d]?.text ?? "");
			u.push({
				value: "token",
				label: o.tokenNumber(e, d)
			});
		}
		this.target.set(u, d === null ? String(e.target) : "token");
		let f = n !== null && i(t, n, r.name);
		this.difference.element.hidden = n === null, this.difference.set(e.difference && f, !f), this.differenceNot.textContent = n !== null && !f ? o.differenceNot : "";
		let p = e.difference && f, m = n !== null && !p;
		this.panes.classList.toggle("mf-two", m), m === this.panes.contains(this.second.element) && this.panes.contains(this.first.element) || this.panes.replaceChildren(this.first.element, ...m ? [this.second.element] : []), this.first.show(e, t, p ? n : null, a, n !== null), m && n.attentions.some(({ name: e }) => e === r.name) && this.second.show(e, n, null, a, !0);
	}
	askLens(e, t, n) {
		this.others.contains(this.lens.element) || this.others.replaceChildren(this.lens.element);
		let r = `${t.id} ${n.dark}`;
		this.asked !== r && (this.asked = r, this.desk.ask("lens", { recording: t.id }).then((i) => this.asked === r && this.lens.show(t, i, n, e.query), (e) => {
			this.asked = "", this.fail(e);
		}));
	}
	step(e) {
		let { state: t } = this.store, { heads: r, layers: i } = n(this.desk.recording(t.recording), t.attention), a = (t.layer * r + t.head + e + i * r) % (i * r);
		this.store.set({
			layer: Math.floor(a / r),
			head: a % r
		});
	}
};
function Q(e, t) {
	return t.queries === t.keys && e.sequences[t.keys].grid ? [
		"picture",
		"lines",
		"matrix",
		"positions"
	] : [
		"lines",
		"matrix",
		"text",
		"positions"
	];
}
function kt(e, t, n) {
	return n === "head" ? !0 : n === "written" ? e.written !== null : r(e, n, n === "lens" ? void 0 : t.name);
}
function At(t, n, r) {
	return e.flatMap((e) => {
		let i = t.scores[e], a = i?.[n.layer]?.[n.head];
		if (!i || a == null) return [];
		let o = i.flat(), s = 1 + o.filter((e) => (e ?? -Infinity) > a).length, c = o.length >= 8 && s <= Math.ceil(o.length * .03);
		return [C("div", { class: c ? "mf-high" : "" }, C("dt", {}, r.scores[e]), C("dd", { title: r.rank(s, o.length) }, e === "entropy" || e === "distance" ? a.toFixed(2) : O(a)), c && C("dd", { class: "mf-rank" }, r.rank(s, o.length)))];
	});
}
// src/start.ts
var jt = ({ language: e }) => e || ((navigator.language || "").startsWith("ko") ? "ko" : "en");
function Mt(e, t) {
	let r = e.attentions.find(({ queries: e, keys: t }) => e !== t)?.name, i = n(e, t.attention ?? r ?? ""), a = Q(e, i), o = e.sequences[i.queries].tokens.length;
	return {
		recording: e.id,
		other: null,
		difference: !1,
		attention: i.name,
		layer: Math.min(t.layer ?? 0, i.layers - 1),
		head: Math.min(t.head ?? 0, i.heads - 1),
		what: "head",
		view: t.view && a.includes(t.view) ? t.view : a[0] === "lines" && o > 64 ? "matrix" : a[0],
		query: null,
		key: null,
		shown: {
			words: !1,
			specials: !0,
			first: !0
		},
		brightness: "row",
		order: "layer",
		reverse: !1,
		onlyLayer: null,
		atLeast: 0,
		off: [],
		target: 0,
		token: null
	};
}
// src/state.ts
var Nt = class {
	current;
	listeners = /* @__PURE__ */ new Set();
	constructor(e) {
		this.current = e;
	}
	get state() {
		return this.current;
	}
	set(e) {
		let t = this.current;
		this.current = {
			...t,
			...e
		};
		for (let e of [...this.listeners]) e(this.current, t);
	}
	listen(e) {
		this.listeners.add(e);
	}
}, Pt = class {
	desk;
	root = C("div", { class: "mf-viewer" });
	alert = C("div", {
		class: "mf-alert",
		role: "alert",
		hidden: !0
	});
	store;
	stopListening;
	setting;
	panels;
	theme;
	kind = "";
	movements;
	effects = /* @__PURE__ */ new Map();
	pairShown = "";
	constructor(e, t, n) {
		this.desk = t, this.setting = {
			language: jt(n),
			theme: n.theme ?? "auto"
		}, this.movements = new Te(t, () => this.show(), (e) => this.fail(e)), this.store = new Nt(Mt(t.recordings[0], n)), e.replaceChildren(this.root), this.theme = this.dress(), this.panels = this.build(), this.store.listen((e, t) => {
			(e.recording !== t.recording || e.attention !== t.attention) && this.settle(e, t), this.show();
		}), this.stopListening = re(() => this.redress()), this.show();
	}
	close() {
		this.stopListening(), this.root.remove();
	}
	get words() {
		return Be[this.setting.language];
	}
	dress() {
		let e = ne(this.setting.theme);
		return this.root.dataset.theme = e ? "dark" : "light", ie(this.root, e);
	}
	redress() {
		this.theme = this.dress(), this.pairShown = "", this.show();
	}
	build() {
		let { desk: e, store: t, words: n } = this;
		this.root.lang = this.setting.language, this.root.setAttribute("role", "region"), this.root.setAttribute("aria-label", n.viewer), this.kind = e.recording(t.state.recording).attentions.map(({ name: e }) => e).join(" "), this.pairShown = "";
		let r = (e) => this.fail(e), i = (e) => this.toggle(e), a = {
			header: new we(e, t, n, this.setting, (e) => this.change(e), (e) => this.record(e)),
			heads: new ye(t, n, e.recording(t.state.recording), i),
			stage: new Ot(e, t, n, i, () => this.panels.pair.element.scrollIntoView({ block: "nearest" }), r),
			prediction: new be(n, (e) => this.switch(e, !1)),
			pair: new Ae(n)
		}, o = C("div", { class: "mf-side" }, a.heads.element, a.prediction.element), s = C("div", { class: "mf-main" }, a.stage.element, a.pair.element);
		return this.root.replaceChildren(a.header.element, this.alert, C("div", { class: "mf-columns" }, o, s)), a;
	}
	change(e) {
		let t = e.language !== this.setting.language;
		this.setting = e, this.theme = this.dress(), this.panels = this.build(), this.show();
		let n = t ? "[role=\"radio\"][aria-checked=\"true\"]" : ".mf-header select";
		this.root.querySelector(n)?.focus();
	}
	show() {
		let { desk: e, store: t, theme: r } = this, { state: i } = t, a = e.recording(i.recording), o = i.other === null ? null : e.recording(i.other);
		a.attentions.map(({ name: e }) => e).join(" ") !== this.kind && (this.panels = this.build());
		let s = n(a, i.attention), { header: c, heads: l, stage: u, prediction: d } = this.panels, f = [a, ...o ? [o] : []];
		this.movements.ask(i.off, f), i.order === "change" && this.askEffects(a, s.name);
		let p = this.effects.get(`${a.id} ${s.name}`) ?? null;
		c.show(i, a), l.show(i, a, o, p, r);
		let m = (e) => i.off.length ? this.movements.of(e) : null;
		u.show(i, a, o, m(a)?.written ?? null, r), d.show(f.map((e) => ({
			recording: e,
			moved: m(e)
		})), i.off, this.movements.waiting), this.showPair(i, a);
	}
	settle(e, t) {
		let r = this.desk.recording(e.recording), i = n(r, e.attention), a = [i.queries, i.keys].map((e) => r.sequences[e].tokens.length), o = Q(r, i);
		this.store.set({
			attention: i.name,
			layer: Math.min(e.layer, i.layers - 1),
			head: Math.min(e.head, i.heads - 1),
			query: e.query !== null && e.query < a[0] ? e.query : null,
			key: e.key !== null && e.key < a[1] ? e.key : null,
			other: e.other === e.recording ? t.recording === e.recording ? null : t.recording : e.other,
			what: kt(r, i, e.what) ? e.what : "head",
			view: o.includes(e.view) ? e.view : o[0],
			onlyLayer: null,
			token: null,
			target: Math.min(e.target, Math.max(0, (r.prediction?.labels.length ?? 1) - 1)),
			off: e.off.filter(([e]) => r.attentions.some((t) => t.name === e))
		});
	}
	toggle(e) {
		let { state: n } = this.store;
		if (!r(this.desk.recording(n.recording), "off")) return;
		let i = e.map(([e, t]) => [
			n.attention,
			e,
			t
		]), a = i.every((e) => n.off.some((n) => t(e, n)));
		this.switch(i, !a);
	}
	switch(e, n) {
		let r = this.store.state.off.filter((n) => !e.some((e) => t(n, e)));
		this.store.set({ off: n ? [...r, ...e] : r });
	}
	askEffects(e, t) {
		let n = `${e.id} ${t}`;
		this.effects.has(n) || this.desk.ask("effects", {
			recording: e.id,
			attention: t
		}).then((e) => {
			this.effects.has(n) || (this.effects.set(n, e), this.show());
		}, (e) => {
			this.store.set({ order: "layer" }), this.fail(e);
		});
	}
	showPair(e, t) {
		let { pair: i, stage: a } = this.panels, { query: o, key: s } = e;
		i.element.hidden = e.what !== "head";
		let c = {
			recording: t.id,
			attention: e.attention,
			layer: e.layer,
			head: e.head,
			query: o,
			key: s
		}, l = JSON.stringify([
			c,
			e.shown.words,
			r(t, "pair", e.attention)
		]);
		if (l === this.pairShown || e.what !== "head") return;
		if (this.pairShown = l, !r(t, "pair", e.attention)) return this.desk.live || t.model.kind === "recurrent" ? i.empty(this.words.pairNot) : i.empty(this.words.pairNotHere, ze);
		if (o === null || s === null) return i.empty(this.words.pairHint);
		let u = n(t, e.attention), d = (e, n) => t.sequences[e].tokens[n]?.text ?? "";
		this.desk.ask("pair", c).then((e) => {
			if (this.pairShown !== l) return;
			let [t, n] = [a.first.label("rows", o), a.first.label("columns", s)];
			i.show(e, t || d(u.queries, o), n || d(u.keys, s), this.theme);
		}, (e) => {
			this.pairShown === l && i.empty(this.reason(e));
		});
	}
	async record(e) {
		try {
			let t = await this.desk.ask("record", {
				recording: this.store.state.recording,
				text: e
			});
			this.desk.recordings.some(({ id: e }) => e === t.id) || this.desk.recordings.push(t), this.store.set({
				recording: t.id,
				query: null,
				key: null
			});
		} catch (e) {
			this.fail(e);
		}
	}
	reason(e) {
		return e instanceof s ? `${e.message}: ${this.words.notHere}` : e instanceof Error ? e.message : String(e);
	}
	fail(e) {
		this.alert.hidden = !1;
		let t = C("button", {
			type: "button",
			class: "mf-quiet",
			"aria-label": "×",
			onclick: () => this.alert.hidden = !0
		}, "×");
		this.alert.replaceChildren(C("span", {}, `${this.words.failed}: ${this.reason(e)}`), t);
	}
};
// src/opening.ts
async function Ft(e, t, n) {
	let r = Be[jt(n)], i = (t) => e.replaceChildren(C("p", {
		class: "mf-viewer mf-wait",
		role: "status"
	}, t));
	i(r.loading);
	try {
		let a = (await t.ask("recordings", {})).filter(({ attentions: e }) => e.length > 0);
		if (a.length) return new Pt(e, new f(t, a), n);
		i(r.noRecordings);
	} catch (e) {
		i(`${r.failed}: ${e instanceof Error ? e.message : String(e)}`);
	}
	return null;
}
// src/source/http.ts
var It = class {
	base;
	live = !0;
	constructor(e = "") {
		this.base = e;
	}
	async ask(e, t) {
		return (await this.post(e, t)).json();
	}
	async layer(e) {
		return (await this.post("layer", { ...e })).arrayBuffer();
	}
	async post(e, t) {
		let n = await fetch(`${this.base}api/${e}`, {
			method: "POST",
			headers: { "Content-Type": "application/json" },
			body: JSON.stringify(t)
		});
		if (n.ok) return n;
		let r = await n.json().catch(() => null);
		throw new o(typeof r?.error == "string" ? r.error : `${e}: ${n.status}`);
	}
}, Lt = class {
	model;
	live = !0;
	waiting = /* @__PURE__ */ new Map();
	last = 0;
	constructor(e) {
		this.model = e, e.on("msg:custom", this.hear);
	}
	async ask(e, t) {
		return e === "recordings" ? this.model.get("recordings") : (await this.send(e, t))[0];
	}
	async layer(e) {
		let t = (await this.send("layer", { ...e }))[1][0];
		if (!t) throw new o(`layer ${e.layer}: no bytes came`);
		return t.buffer.slice(t.byteOffset, t.byteOffset + t.byteLength);
	}
	close() {
		this.model.off("msg:custom", this.hear);
		for (let { refuse: e } of this.waiting.values()) e(new o("closed"));
		this.waiting.clear();
	}
	send(e, t) {
		let n = ++this.last;
		return new Promise((r, i) => {
			this.waiting.set(n, {
				settle: (e, t) => r([e, t]),
				refuse: i
			}), this.model.send({
				id: n,
				question: e,
				parameters: t
			});
		});
	}
	hear = (e, t = []) => {
		let n = this.waiting.get(e?.id);
		n && (this.waiting.delete(e.id), typeof e.error == "string" ? n.refuse(new o(e.error)) : n.settle(e.answer, t));
	};
};
// src/index.ts
function $(e, t, n = {}) {
	let r = null, i = !1;
	return Ft(e, t, n).then((e) => {
		r = e, i && r?.close();
	}), () => {
		i = !0, r?.close();
	};
}
function Rt({ model: e, el: t }) {
	let n = new Lt(e), r = $(t, n, { language: e.get("language") ?? "" });
	return () => {
		r(), n.close();
	};
}
var zt = { render: Rt };
for (let e of document.querySelectorAll("[data-viewer]")) {
	let t = e.dataset.viewer === "embedded" ? new ue(document) : new It(e.dataset.base), { language: n, theme: r } = e.dataset;
	$(e, t, {
		language: n,
		theme: r
	});
}
export { ue as EmbeddedSource, It as HttpSource, Lt as WidgetSource, zt as default, $ as mount };
