import type { Desk } from "./desk";
import { can, type Head, type Recording } from "./recording";
import type { Moved } from "./source/source";

/** How predictions move with the heads that are off: asked once for each choice of heads. */
export class Movements {
  waiting = false;
  private found = new Map<string, Moved>();
  private wanted = "";

  constructor(
    private readonly desk: Desk,
    private readonly show: () => void,
    private readonly fail: (error: unknown) => void,
  ) {}

  of(recording: Recording): Moved | null {
    return this.found.get(recording.id) ?? null;
  }

  ask(off: Head[], recordings: Recording[]): void {
    const each = recordings.filter((one) => can(one, "off"));
    const wanted = JSON.stringify([each.map(({ id }) => id), off]);
    if (wanted === this.wanted) return;
    this.wanted = wanted;
    this.waiting = off.length > 0;
    if (!this.waiting) return;
    const has = (one: Recording): Head[] => off.filter(([name]) => one.attentions.some((attention) => attention.name === name));
    Promise.all(each.map(async (one) => [one.id, await this.desk.off(one, has(one))] as const)).then(
      (found) => {
        if (this.wanted !== wanted) return;
        this.found = new Map(found);
        this.waiting = false;
        this.show();
      },
      (error: unknown) => {
        this.waiting = false;
        this.fail(error);
      },
    );
  }
}
