import js from '@eslint/js';

/** Names that browsers and Node have, which the modules use. */
const NAMES = [
  ...[
    'AbortController',
    'Blob',
    'DataTransfer',
    'DragEvent',
    'File',
    'Buffer',
    'DOMException',
    'Event',
    'EventTarget',
    'ImageData',
    'TextDecoder',
    'TextEncoder',
  ],
  ...[
    'URL',
    'URLSearchParams',
    'console',
    'fetch',
    'performance',
    'process',
    'queueMicrotask',
    'setTimeout',
    'clearTimeout',
    'clearTimeout',
    'clearInterval',
  ],
  ...['AudioBufferSourceNode', 'AudioContext', 'AudioDecoder', 'EncodedAudioChunk', 'HTMLElement', 'OffscreenCanvas'],
  ...['ResizeObserver', 'WheelEvent', 'Worker', 'cancelAnimationFrame', 'customElements', 'devicePixelRatio'],
  ...['document', 'getComputedStyle', 'location', 'matchMedia', 'requestAnimationFrame', 'self', 'window'],
  ...['navigator', 'structuredClone', 'btoa', 'GPUBufferUsage', 'GPUTextureUsage', 'GPUMapMode', 'GPUShaderStage'],
];

export default [
  js.configs.recommended,
  {
    languageOptions: { globals: Object.fromEntries(NAMES.map((name) => [name, 'readonly'])) },
    rules: {
      eqeqeq: 'error',
      'no-eval': 'error',
      'no-implied-eval': 'error',
      'no-new-func': 'error',
      'no-var': 'error',
      'prefer-const': 'error',
      'no-unused-vars': ['error', { ignoreRestSiblings: true, varsIgnorePattern: '^_' }],
      // Texts of a file must not have them.
      'no-control-regex': 'off',
    },
  },
];
