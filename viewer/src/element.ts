/** Elements from values: text only ever becomes text, never markup. */

type Child = Node | string | null | undefined | false;
type Listener = (event: never) => void;
type Value = string | number | boolean | null | undefined | Listener;

/**
 * @param attributes `class`, ARIA and the like; `onclick` and its kin as functions; false, null and undefined are left out
 */
export function element<K extends keyof HTMLElementTagNameMap>(
  name: K,
  attributes: Record<string, Value> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key.slice(2), value as EventListener);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, String(value));
  }
  for (const child of children) if (child) made.append(child);
  return made;
}

export interface Option {
  value: string;
  label: string;
  disabled?: boolean;
}

/** A labelled list of which one is chosen. */
export class Select {
  private readonly box: HTMLSelectElement;
  readonly element: HTMLElement;
  private shown = "";

  constructor(label: string, onChoice: (value: string) => void) {
    this.box = element("select", { onchange: () => onChoice(this.box.value) });
    this.element = element("label", { class: "mf-field" }, element("span", {}, label), this.box);
  }

  set(options: Option[], chosen: string): void {
    const wanted = JSON.stringify(options);
    if (wanted !== this.shown) {
      this.shown = wanted;
      this.box.replaceChildren(...options.map(({ value, label, disabled }) => element("option", { value, disabled }, label)));
    }
    this.box.value = chosen;
  }
}

/** A labelled switch. */
export class Check {
  private readonly box: HTMLInputElement;
  readonly element: HTMLElement;

  constructor(label: string, onChange: (on: boolean) => void) {
    this.box = element("input", { type: "checkbox", onchange: () => onChange(this.box.checked) });
    this.element = element("label", { class: "mf-check" }, this.box, element("span", {}, label));
  }

  set(on: boolean, disabled = false): void {
    this.box.checked = on;
    this.box.disabled = disabled;
  }
}

/** A row of choices of which one is pressed; arrow keys move among them. */
export class Choices {
  readonly element: HTMLElement;
  private readonly buttons: HTMLButtonElement[];

  constructor(label: string, options: Option[], onChoice: (value: string) => void) {
    this.buttons = options.map(({ value, label: text }) =>
      element("button", { type: "button", role: "radio", "data-value": value, onclick: () => onChoice(value) }, text),
    );
    this.element = element("div", { class: "mf-choices", role: "radiogroup", "aria-label": label }, ...this.buttons);
    this.element.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const free = this.buttons.filter(({ disabled, hidden }) => !disabled && !hidden);
      const at = free.findIndex((button) => button.getAttribute("aria-checked") === "true");
      const next = free[(at + step + free.length) % free.length];
      onChoice(next.dataset.value ?? "");
      next.focus();
    });
  }

  set(chosen: string, allowed: (value: string) => boolean = () => true): void {
    for (const button of this.buttons) {
      const on = button.dataset.value === chosen;
      button.setAttribute("aria-checked", String(on));
      button.tabIndex = on ? 0 : -1;
      button.hidden = !allowed(button.dataset.value ?? "");
    }
  }
}
