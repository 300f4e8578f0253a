//! One random stream: xoshiro256++ with uniforms and normals that have the same bits on every platform.

use std::sync::LazyLock;

/// xoshiro256++ (Blackman and Vigna), seeded through splitmix64; one per stream.
pub(crate) struct Random([u64; 4]);

impl Random {
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut state = seed ^ mix(stream.wrapping_add(0x9E37_79B9_7F4A_7C15));
        let mut next = || {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            mix(state)
        };
        Self([next(), next(), next(), next()])
    }

    #[inline]
    pub(crate) fn bits(&mut self) -> u64 {
        let s = &mut self.0;
        let out = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let shifted = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= shifted;
        s[3] = s[3].rotate_left(45);
        out
    }

    /// Uniform in [0, 1), 53 bits.
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }

    /// Uniform in (0, 1]: safe to take the logarithm of.
    pub(crate) fn open_uniform(&mut self) -> f64 {
        1.0 - self.uniform()
    }

    /// Two independent standard normals (Box and Muller).
    pub(crate) fn normals(&mut self) -> (f64, f64) {
        let radius = libm::sqrt(-2.0 * libm::log(self.open_uniform()));
        let (sin, cos) = libm::sincos(std::f64::consts::TAU * self.uniform());
        (radius * cos, radius * sin)
    }

    /// A standard normal by Marsaglia and Tsang's ziggurat (as Doornik 2005 corrects it): mostly one draw, a product
    /// and a comparison.
    #[inline]
    pub(crate) fn normal(&mut self, layers: &Ziggurat) -> f64 {
        loop {
            let bits = self.bits();
            // Layer and place come from bits of their own.
            let layer = (bits & 0xFF) as usize;
            let u = 2.0 * ((bits >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)) - 1.0;
            let x = u * layers.edge[layer];
            if x.abs() < layers.edge[layer + 1] {
                return x;
            }
            if let Some(x) = self.outer(layers, layer, u) {
                return x;
            }
        }
    }

    /// The tail, or the part of a layer that the curve cuts; one draw in a hundred.
    #[cold]
    fn outer(&mut self, layers: &Ziggurat, layer: usize, u: f64) -> Option<f64> {
        if layer == 0 {
            loop {
                let (x, y) = (libm::log(self.open_uniform()) / TAIL, libm::log(self.open_uniform()));
                if -2.0 * y >= x * x {
                    return Some(if u < 0.0 { x - TAIL } else { TAIL - x });
                }
            }
        }
        let x = u * layers.edge[layer];
        let height = |edge: f64| libm::exp(-0.5 * (edge * edge - x * x));
        let (low, high) = (height(layers.edge[layer]), height(layers.edge[layer + 1]));
        (low + self.uniform() * (high - low) < 1.0).then_some(x)
    }
}

const LAYERS: usize = 256;
/// Where the tail begins, and the area of each layer.
const TAIL: f64 = 3.654_152_885_361_009;
const AREA: f64 = 0.004_928_673_233_99;

/// Right edges of the layers, the base first; the last is 0.
pub(crate) struct Ziggurat {
    edge: [f64; LAYERS + 1],
}

impl Ziggurat {
    /// The table, made once.
    pub(crate) fn get() -> &'static Self {
        static TABLE: LazyLock<Ziggurat> = LazyLock::new(Ziggurat::new);
        &TABLE
    }

    fn new() -> Self {
        let curve = |x: f64| libm::exp(-0.5 * x * x);
        let mut edge = [0.0; LAYERS + 1];
        (edge[0], edge[1]) = (AREA / curve(TAIL), TAIL);
        for i in 2..LAYERS {
            edge[i] = libm::sqrt(-2.0 * libm::log(AREA / edge[i - 1] + curve(edge[i - 1])));
        }
        Self { edge }
    }
}

/// The finaliser of splitmix64.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}
