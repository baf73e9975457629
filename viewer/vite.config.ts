import { defineConfig } from "vite";

// The built module is part of the Python package, so that its users need no Node.
export default defineConfig({
  build: {
    lib: { entry: "src/index.ts", formats: ["es"], fileName: () => "viewer.js", cssFileName: "viewer" },
    outDir: "../moduformer/view/page",
    emptyOutDir: false,
    target: ["chrome115", "firefox115", "safari16.4"],
    reportCompressedSize: false,
  },
});
