// Constants of WebGPU, which the type checker's own library leaves out.
declare const GPUBufferUsage: Record<'MAP_READ' | 'COPY_SRC' | 'COPY_DST' | 'UNIFORM' | 'STORAGE', number>;
declare const GPUTextureUsage: Record<'COPY_SRC' | 'RENDER_ATTACHMENT', number>;
declare const GPUMapMode: Record<'READ', number>;
