/** The format of the canvas and of pictures that are read. */
export const FORMAT = 'rgba8unorm';

/** @returns {Promise<GPUAdapter>} */
export async function requestAdapter() {
  if (!globalThis.navigator?.gpu) {
    throw new Error('the browser has none, or not on this page: it needs https: or an address of this machine');
  }
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter) throw new Error('the browser finds no graphics device for it');
  return adapter;
}

/** @returns {Promise<GPUDevice>} */
export async function requestDevice() {
  const adapter = await requestAdapter();
  const { maxStorageBufferBindingSize, maxBufferSize, maxTextureDimension2D } = adapter.limits;
  const requiredLimits = { maxStorageBufferBindingSize, maxBufferSize, maxTextureDimension2D };
  return adapter.requestDevice({ requiredLimits });
}

/**
 * @param {GPUDevice} device
 * @param {string} code
 * @returns {Promise<GPUShaderModule>}
 */
async function compile(device, code) {
  const module = device.createShaderModule({ code });
  const { messages } = await module.getCompilationInfo();
  const error = messages.find(({ type }) => type === 'error');
  if (error) throw new Error(`the driver refuses a shader: ${error.message} (line ${error.lineNum})`);
  return module;
}

/**
 * @param {GPUDevice} device
 * @param {string} code
 * @returns {Promise<GPUComputePipeline>}
 */
export async function computePipeline(device, code) {
  const compute = { module: await compile(device, code) };
  return device.createComputePipelineAsync({ layout: 'auto', compute });
}

/**
 * @param {GPUDevice} device
 * @param {string} code
 * @param {GPUPrimitiveTopology} topology
 * @param {GPUBlendState} [blend]
 * @returns {Promise<GPURenderPipeline>}
 */
export async function renderPipeline(device, code, topology, blend) {
  const module = await compile(device, code);
  return device.createRenderPipelineAsync({
    layout: 'auto',
    vertex: { module },
    primitive: { topology },
    fragment: { module, targets: [{ format: FORMAT, blend }] },
  });
}
