// Greedy continuations by llama.cpp: settings as JSON in the first argument, then one question and one answer a line.
import readline from "node:readline";

const settings = JSON.parse(process.argv[2]);
const {getLlama} = await import(settings.package);
const llama = await getLlama({gpu: false, build: "never", maxThreads: settings.threads, logLevel: "error"});
const model = await llama.loadModel({modelPath: settings.file});
const context = await model.createContext({
    contextSize: settings.context,
    sequences: settings.sequences,
    batchSize: settings.sequences * settings.context,
    threads: settings.threads,
});
const sequences = Array.from({length: settings.sequences}, () => context.getSequence());

async function write(sequence, prompt, count) {
    await sequence.clearHistory();
    const written = [];
    for await (const token of sequence.evaluate(prompt, {temperature: 0, yieldEogToken: true})) {
        written.push(token);
        if (written.length === count) break;
    }
    return written;
}

process.stdout.write("ready\n");
for await (const line of readline.createInterface({input: process.stdin})) {
    const {prompts, new: count} = JSON.parse(line);
    const written = await Promise.all(prompts.map((prompt, row) => write(sequences[row], prompt, count)));
    process.stdout.write(JSON.stringify(written) + "\n");
}
process.exit(0);
