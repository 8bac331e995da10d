/** @typedef {Record<string, number | boolean | ArrayLike<number> | WebGLTexture>} Uniforms */

/** A program of two shaders. */
export class Program {
  /**
   * @param {WebGL2RenderingContext} gl
   * @param {string} vertex
   * @param {string} fragment
   */
  constructor(gl, vertex, fragment) {
    this.gl = gl;
    this.program = /** @type {WebGLProgram} */ (gl.createProgram());
    const shaders = [vertex, fragment].map((source, i) => {
      const shader = /** @type {WebGLShader} */ (gl.createShader(i ? gl.FRAGMENT_SHADER : gl.VERTEX_SHADER));
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(this.program, shader);
      return shader;
    });
    gl.linkProgram(this.program);
    if (!gl.getProgramParameter(this.program, gl.LINK_STATUS) && !gl.isContextLost()) {
      const logs = [...shaders.map((shader) => gl.getShaderInfoLog(shader)), gl.getProgramInfoLog(this.program)];
      throw new Error(`the driver refuses a shader: ${logs.filter(Boolean).join(' ')}`);
    }
    for (const shader of shaders) gl.deleteShader(shader);
    /** @type {{ name: string, type: number, place: WebGLUniformLocation | null }[]} */
    this.uniforms = [];
    const n = gl.isContextLost() ? 0 : gl.getProgramParameter(this.program, gl.ACTIVE_UNIFORMS);
    for (let i = 0; i < n; i++) {
      const { name, type } = /** @type {WebGLActiveInfo} */ (gl.getActiveUniform(this.program, i));
      this.uniforms.push({ name: name.replace('[0]', ''), type, place: gl.getUniformLocation(this.program, name) });
    }
  }

  /**
   * @param {Uniforms} values by name; those that the program does not have are left out
   * @param {number} [vertices]
   * @param {number} [instances]
   * @param {number} [mode]
   */
  draw(values, vertices = 3, instances = 1, mode = this.gl.TRIANGLE_STRIP) {
    const { gl } = this;
    gl.useProgram(this.program);
    let unit = 0;
    for (const { name, type, place } of this.uniforms) {
      const value = /** @type {any} */ (values[name]);
      if (type === gl.SAMPLER_2D) {
        gl.activeTexture(gl.TEXTURE0 + unit);
        gl.bindTexture(gl.TEXTURE_2D, value);
        gl.uniform1i(place, unit++);
      } else if (type === gl.FLOAT) gl.uniform1f(place, value);
      else if (type === gl.FLOAT_VEC2) gl.uniform2fv(place, value);
      else if (type === gl.FLOAT_VEC3) gl.uniform3fv(place, value);
      else if (type === gl.FLOAT_VEC4) gl.uniform4fv(place, value);
      else if (type === gl.UNSIGNED_INT_VEC4) gl.uniform4uiv(place, value);
      else gl.uniform1i(place, Number(value));
    }
    gl.drawArraysInstanced(mode, 0, vertices, instances);
  }
}
