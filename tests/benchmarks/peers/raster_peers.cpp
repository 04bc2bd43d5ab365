// Peers of the rasterizer benchmark: one thread, plain C++17, written for this project.
//
// published_kind   the way the published CPU renderers of face reconstruction work: per triangle the inverse of its
//                  3 x 3 matrix of homogeneous corners and a bounding box; per pixel of the box three edge functions, the
//                  perspective-correct barycentrics, clip z and w from them, a float z-buffer. Ids, barycentrics, depth.
// screen_space     the same box loop with Cramer's rule in screen space and everything constant hoisted out of it: what
//                  the simpler published kernels would be after tuning. Ids, barycentrics, depth.
// tuned_ids        what a careful C++ programmer gets: vertices snapped to 1/256 px, integer edge functions stepped
//                  along rows and columns, top-left rule, float depth plane. Ids and depth only.
// bary_backward    d(loss)/d(clip vertices) from d(loss)/d(barycentrics): the closed form of the perspective-correct
//                  barycentrics, pixel by pixel, scattered to the three corners.
//
// All take clip coordinates [v 4] float32 and faces [f 3] int32; images are row-major, y down.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

extern "C" {

void published_kind(const float* clip, int n_verts, const int32_t* faces, int n_faces, int height, int width,
                    int32_t* ids, float* bary, float* depth) {
  (void)n_verts;
  const int n_pixels = height * width;
  std::fill(ids, ids + n_pixels, -1);
  std::fill(depth, depth + n_pixels, 1.0f);
  std::fill(bary, bary + 3 * n_pixels, 0.0f);
  for (int f = 0; f < n_faces; ++f) {
    const float* corner[3] = {clip + 4 * faces[3 * f], clip + 4 * faces[3 * f + 1], clip + 4 * faces[3 * f + 2]};
    float low_x = 1, high_x = -1, low_y = 1, high_y = -1;
    for (const float* p : corner) {
      const float x = p[0] / p[3], y = p[1] / p[3];
      low_x = std::min(low_x, x), high_x = std::max(high_x, x);
      low_y = std::min(low_y, y), high_y = std::max(high_y, y);
    }
    const int left = std::max(0, static_cast<int>(std::floor((low_x + 1) * 0.5f * width)));
    const int right = std::min(width, static_cast<int>(std::ceil((high_x + 1) * 0.5f * width)));
    const int top = std::max(0, static_cast<int>(std::floor((1 - high_y) * 0.5f * height)));
    const int bottom = std::min(height, static_cast<int>(std::ceil((1 - low_y) * 0.5f * height)));
    // rows of the adjugate of [x; y; w]: edge i at a pixel (px, py, 1) is its unnormalized barycentric i (over w)
    float edge[3][3];
    for (int i = 0; i < 3; ++i) {
      const float *p = corner[(i + 1) % 3], *q = corner[(i + 2) % 3];
      edge[i][0] = p[1] * q[3] - p[3] * q[1];
      edge[i][1] = p[3] * q[0] - p[0] * q[3];
      edge[i][2] = p[0] * q[1] - p[1] * q[0];
    }
    const float det = edge[0][0] * corner[0][0] + edge[0][1] * corner[0][1] + edge[0][2] * corner[0][3];
    if (det == 0.0f) continue;
    const float sign = det < 0 ? -1.0f : 1.0f;  // both sides are drawn
    for (int row = top; row < bottom; ++row) {
      const float py = 1.0f - (2 * row + 1) / static_cast<float>(height);
      for (int col = left; col < right; ++col) {
        const float px = (2 * col + 1) / static_cast<float>(width) - 1.0f;
        float b[3];
        for (int i = 0; i < 3; ++i) b[i] = sign * (edge[i][0] * px + edge[i][1] * py + edge[i][2]);
        if (b[0] < 0 || b[1] < 0 || b[2] < 0) continue;
        const float norm = 1.0f / (b[0] + b[1] + b[2]);
        for (float& v : b) v *= norm;
        const float z = b[0] * corner[0][2] + b[1] * corner[1][2] + b[2] * corner[2][2];
        const float w = b[0] * corner[0][3] + b[1] * corner[1][3] + b[2] * corner[2][3];
        const float ndc_z = z / w;
        const int pixel = row * width + col;
        if (ndc_z < -1.0f || ndc_z > depth[pixel]) continue;
        depth[pixel] = ndc_z;
        ids[pixel] = f;
        for (int i = 0; i < 3; ++i) bary[3 * pixel + i] = b[i];
      }
    }
  }
}

void screen_space(const float* clip, int n_verts, const int32_t* faces, int n_faces, int height, int width,
                  int32_t* ids, float* bary, float* depth) {
  std::vector<float> screen(3 * static_cast<size_t>(n_verts));
  for (int v = 0; v < n_verts; ++v) {
    const float* p = clip + 4 * v;
    const float inv_w = 1.0f / p[3];
    screen[3 * v] = (p[0] * inv_w + 1.0f) * 0.5f * width;
    screen[3 * v + 1] = (1.0f - p[1] * inv_w) * 0.5f * height;
    screen[3 * v + 2] = p[2] * inv_w;
  }
  const int n_pixels = height * width;
  std::fill(ids, ids + n_pixels, -1);
  std::fill(depth, depth + n_pixels, 1.0f);
  std::fill(bary, bary + 3 * n_pixels, 0.0f);
  for (int f = 0; f < n_faces; ++f) {
    const int i0 = faces[3 * f], i1 = faces[3 * f + 1], i2 = faces[3 * f + 2];
    const float *a = &screen[3 * i0], *b = &screen[3 * i1], *c = &screen[3 * i2];
    const int left = std::max(0, static_cast<int>(std::ceil(std::min({a[0], b[0], c[0]}) - 0.5f)));
    const int right = std::min(width - 1, static_cast<int>(std::floor(std::max({a[0], b[0], c[0]}) - 0.5f)));
    const int top = std::max(0, static_cast<int>(std::ceil(std::min({a[1], b[1], c[1]}) - 0.5f)));
    const int bottom = std::min(height - 1, static_cast<int>(std::floor(std::max({a[1], b[1], c[1]}) - 0.5f)));
    if (left > right || top > bottom) continue;
    const float w0 = clip[4 * i0 + 3], w1 = clip[4 * i1 + 3], w2 = clip[4 * i2 + 3];
    for (int y = top; y <= bottom; ++y) {
      for (int x = left; x <= right; ++x) {
        const float px = x + 0.5f, py = y + 0.5f;
        // Cramer's rule for p - a = s (b - a) + t (c - a)
        const float bx = b[0] - a[0], by = b[1] - a[1], cx = c[0] - a[0], cy = c[1] - a[1];
        const float det = bx * cy - cx * by;
        if (det == 0.0f) continue;
        const float inv = 1.0f / det;
        const float s = ((px - a[0]) * cy - cx * (py - a[1])) * inv;
        const float t = (bx * (py - a[1]) - (px - a[0]) * by) * inv;
        const float r = 1.0f - s - t;
        if (s < 0.0f || t < 0.0f || r < 0.0f) continue;
        const float z = r * a[2] + s * b[2] + t * c[2];
        const int pixel = y * width + x;
        if (z >= depth[pixel]) continue;
        const float p0 = r / w0, p1 = s / w1, p2 = t / w2, norm = 1.0f / (p0 + p1 + p2);
        depth[pixel] = z;
        ids[pixel] = f;
        bary[3 * pixel] = p0 * norm;
        bary[3 * pixel + 1] = p1 * norm;
        bary[3 * pixel + 2] = p2 * norm;
      }
    }
  }
}

void tuned_ids(const float* clip, int n_verts, const int32_t* faces, int n_faces, int height, int width, int32_t* ids,
               float* depth) {
  struct Snapped {
    int32_t x, y;
    float z;
  };
  std::vector<Snapped> snapped(n_verts);
  for (int v = 0; v < n_verts; ++v) {
    const float* p = clip + 4 * v;
    const float inv_w = 1.0f / p[3];
    snapped[v].x = static_cast<int32_t>(std::lrint(p[0] * inv_w * (128.0f * width))) + 128 * width;
    snapped[v].y = static_cast<int32_t>(std::lrint(-p[1] * inv_w * (128.0f * height))) + 128 * height;
    snapped[v].z = p[2] * inv_w;
  }
  const int n_pixels = height * width;
  std::fill(ids, ids + n_pixels, -1);
  std::fill(depth, depth + n_pixels, std::numeric_limits<float>::infinity());
  for (int f = 0; f < n_faces; ++f) {
    Snapped a = snapped[faces[3 * f]], b = snapped[faces[3 * f + 1]], c = snapped[faces[3 * f + 2]];
    const int left = std::max(0, (std::min({a.x, b.x, c.x}) + 127) >> 8);
    const int right = std::min(width - 1, (std::max({a.x, b.x, c.x}) - 128) >> 8);
    const int top = std::max(0, (std::min({a.y, b.y, c.y}) + 127) >> 8);
    const int bottom = std::min(height - 1, (std::max({a.y, b.y, c.y}) - 128) >> 8);
    if (left > right || top > bottom) continue;
    int64_t area = static_cast<int64_t>(b.x - a.x) * (c.y - a.y) - static_cast<int64_t>(c.x - a.x) * (b.y - a.y);
    if (area == 0) continue;
    if (area < 0) {
      std::swap(b, c);
      area = -area;
    }
    const int64_t cx = 256 * left + 128, cy = 256 * top + 128;
    const auto edge = [&](const Snapped& p, const Snapped& q, int64_t& right_step, int64_t& down_step) {
      const int64_t dx = p.y - q.y, dy = q.x - p.x;
      right_step = 256 * dx;
      down_step = 256 * dy;
      return dx * (cx - p.x) + dy * (cy - p.y) + ((dx > 0 || (dx == 0 && dy > 0)) ? 0 : -1);
    };
    int64_t r0, d0, r1, d1, r2, d2;
    int64_t e0 = edge(b, c, r0, d0), e1 = edge(c, a, r1, d1), e2 = edge(a, b, r2, d2);
    const float inv = 1.0f / static_cast<float>(area);
    const float z1 = b.z - a.z, z2 = c.z - a.z;
    const float gx = (z1 * (c.y - a.y) - z2 * (b.y - a.y)) * inv, gy = (z2 * (b.x - a.x) - z1 * (c.x - a.x)) * inv;
    float z_row = a.z + gx * static_cast<float>(cx - a.x) + gy * static_cast<float>(cy - a.y);
    for (int y = top; y <= bottom; ++y) {
      int64_t f0 = e0, f1 = e1, f2 = e2;
      float z = z_row;
      int pixel = y * width + left;
      for (int x = left; x <= right; ++x, ++pixel) {
        if ((f0 | f1 | f2) >= 0 && z < depth[pixel]) {
          depth[pixel] = z;
          ids[pixel] = f;
        }
        f0 += r0, f1 += r1, f2 += r2, z += 256.0f * gx;
      }
      e0 += d0, e1 += d1, e2 += d2, z_row += 256.0f * gy;
    }
  }
}

// With corners (x_i, y_i, w_i) and the pixel (px, py) in NDC: m_i = minors of (x_i - px w_i, y_i - py w_i), b_i = m_i / sum m.
void bary_backward(const float* clip, int n_verts, const int32_t* faces, int height, int width, const int32_t* ids,
                   const float* grad_bary, float* grad_clip) {
  std::fill(grad_clip, grad_clip + 4 * static_cast<size_t>(n_verts), 0.0f);
  for (int row = 0; row < height; ++row) {
    const float py = 1.0f - (2 * row + 1) / static_cast<float>(height);
    for (int col = 0; col < width; ++col) {
      const int pixel = row * width + col, f = ids[pixel];
      if (f < 0) continue;
      const float px = (2 * col + 1) / static_cast<float>(width) - 1.0f;
      const int v[3] = {faces[3 * f], faces[3 * f + 1], faces[3 * f + 2]};
      float x[3], y[3];
      for (int i = 0; i < 3; ++i) {
        x[i] = clip[4 * v[i]] - px * clip[4 * v[i] + 3];
        y[i] = clip[4 * v[i] + 1] - py * clip[4 * v[i] + 3];
      }
      const float m[3] = {x[1] * y[2] - y[1] * x[2], x[2] * y[0] - y[2] * x[0], x[0] * y[1] - y[0] * x[1]};
      const float inv = 1.0f / (m[0] + m[1] + m[2]);
      const float* g = grad_bary + 3 * pixel;
      const float mean = (g[0] * m[0] + g[1] * m[1] + g[2] * m[2]) * inv;
      const float gm[3] = {(g[0] - mean) * inv, (g[1] - mean) * inv, (g[2] - mean) * inv};
      for (int i = 0; i < 3; ++i) {
        const int j = (i + 1) % 3, k = (i + 2) % 3;
        // m_k = x_i y_j - y_i x_j and m_j = x_k y_i - y_k x_i
        const float gx = gm[k] * y[j] - gm[j] * y[k], gy = gm[j] * x[k] - gm[k] * x[j];
        float* out = grad_clip + 4 * static_cast<size_t>(v[i]);
        out[0] += gx;
        out[1] += gy;
        out[3] -= px * gx + py * gy;
      }
    }
  }
}
}
