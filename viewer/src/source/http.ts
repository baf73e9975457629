import { Refusal, type Answers, type LayerWanted, type Parameters, type Question, type Source } from "./source";

/** Asks the local server that wrote the page. */
export class HttpSource implements Source {
  readonly live = true;

  constructor(private readonly base = "") {}

  async ask<Q extends Question>(question: Q, parameters: Parameters): Promise<Answers[Q]> {
    return (await this.post(question, parameters)).json() as Promise<Answers[Q]>;
  }

  async layer(wanted: LayerWanted): Promise<ArrayBuffer> {
    return (await this.post("layer", { ...wanted })).arrayBuffer();
  }

  private async post(question: string, parameters: Parameters): Promise<Response> {
    const response = await fetch(`${this.base}api/${question}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(parameters),
    });
    if (response.ok) return response;
    const said = (await response.json().catch(() => null)) as { error?: unknown } | null;
    throw new Refusal(typeof said?.error === "string" ? said.error : `${question}: ${response.status}`);
  }
}
