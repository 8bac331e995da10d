/** The limits of section 11 that are used in more than one place; the others stand beside the element they bind. */
export const MAX_CHUNK_PAYLOAD = 2 ** 28;
export const MAX_CHUNKS = 2 ** 24;
export const MAX_FRAMES = 2 ** 40;
export const MAX_FRAME_PIXELS = 2 ** 27;
export const MAX_GOP_FRAMES = 1024;
export const MAX_GAUSSIANS = 2 ** 22;
export const MAX_GRID_PARAMETERS = 2 ** 24;
export const MAX_PTS = 1n << 62n;
export const MAX_PTS_STEP = 2 ** 40;
export const MAX_TRACKS = 128;
export const MAX_TRACK_SETUP = 2 ** 20;
export const MAX_DRAWN = 2 ** 40;
