/** Every word of the interface, in English and Korean. */
import { en, type Words } from "./words/en";
import { ko } from "./words/ko";

export type { Words };
/** How the model is run that a file does not have. */
export const COMMAND = 'moduformer view "…" --model …';
export type Language = "en" | "ko";
export const WORDS: Record<Language, Words> = { en, ko };
