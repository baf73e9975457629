import { DARK, LIGHT, type Scale } from "./scale";

export type Choice = "auto" | "light" | "dark";

/** What a canvas needs to know of the style sheet. */
export interface Theme {
  dark: boolean;
  scale: Scale;
  ground: string;
  ink: string;
  soft: string;
  rule: string;
  accent: string;
  second: string;
  font: string;
}

const systemDark = matchMedia("(prefers-color-scheme: dark)");

export function isDark(choice: Choice): boolean {
  if (choice !== "auto") return choice === "dark";
  // Notebooks have a theme of their own, whatever the system's.
  const { body } = document;
  if (body.dataset.jpThemeLight !== undefined) return body.dataset.jpThemeLight === "false";
  if (body.dataset.vscodeThemeKind !== undefined) return body.dataset.vscodeThemeKind.includes("dark");
  return systemDark.matches;
}

/** Calls back when the system's or the notebook's theme changes; answers a function that ends it. */
export function onTheme(callback: () => void): () => void {
  const notebook = new MutationObserver(callback);
  notebook.observe(document.body, { attributeFilter: ["data-jp-theme-light", "data-vscode-theme-kind"] });
  systemDark.addEventListener("change", callback);
  return () => {
    notebook.disconnect();
    systemDark.removeEventListener("change", callback);
  };
}

export function themeOf(root: Element, dark: boolean): Theme {
  const style = getComputedStyle(root);
  const value = (name: string) => style.getPropertyValue(name).trim();
  return {
    dark,
    scale: dark ? DARK : LIGHT,
    ground: value("--surface"),
    ink: value("--text"),
    soft: value("--soft"),
    rule: value("--rule"),
    accent: value("--accent"),
    second: value("--second"),
    font: style.fontFamily,
  };
}
