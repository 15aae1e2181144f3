/* Weights and measures samples frame by frame: the inner loop of levels.py, which says what the figures mean.

   compiled_meter.py has the same structures. Each channel carries its state from call to call, so that it does not
   matter how samples are split. The A and C weightings are taps, then one-pole sections in a row (weighting.py); the
   first sections have a zero at 0 Hz too. */

#include <math.h>
#include <stdint.h>

enum { TAPS = 5, A_POLES = 6, A_ZEROS = 4, C_POLES = 4, C_ZEROS = 2 };

typedef struct {
    double a_taps[TAPS], a_poles[A_POLES], c_taps[TAPS], c_poles[C_POLES];
    double factor; /* from a sample to the RMS of a full-scale sine */
    double keep;   /* of the time weighting F, from one frame to the next */
    int64_t clip;  /* a sample of this magnitude or more is clipped */
} Constants;

typedef struct {
    double past[TAPS - 1], a[A_POLES], c[C_POLES], fast; /* the state */
    double energy; /* measured by this call: the sum of A-weighted squares */
    int64_t sum;   /* of the samples */
} Channel;

typedef struct {
    double fast_max, peak; /* the highest fast-weighted square and C-weighted magnitude of all channels */
    int64_t clipped;
} Measured;

static double sections(double value, const double *poles, double *state, int count, int zeros) {
    for (int number = 0; number < count; number++) {
        double before = state[number];
        state[number] = value + poles[number] * before;
        value = number < zeros ? state[number] - before : state[number];
    }
    return value;
}

/* What decays below this during digital silence would become denormal, and slow. */
static void flush(double *values, int count) {
    for (int number = 0; number < count; number++)
        if (fabs(values[number]) < 1e-60) values[number] = 0;
}

/* `samples`: frames times channels, int16 or, where `wide`, int32. The loudest channel's fast-weighted square is stored
   in `course` for frame `first` and each `step`th after that. */
void measure(const Constants *by, Channel *channels, int count, const void *samples, int wide, int64_t frames,
             int64_t first, int64_t step, double *course, Measured *measured) {
    Measured found = {0};
    for (int number = 0; number < count; number++) channels[number].energy = 0, channels[number].sum = 0;
    for (int64_t frame = 0; frame < frames; frame++) {
        double loudest = 0;
        for (int number = 0; number < count; number++) {
            Channel *own = channels + number;
            int64_t sample = wide ? ((const int32_t *)samples)[frame * count + number]
                                  : ((const int16_t *)samples)[frame * count + number];
            double input = (double)sample * by->factor;
            double a = by->a_taps[0] * input, c = by->c_taps[0] * input;
            for (int tap = 1; tap < TAPS; tap++) {
                a += by->a_taps[tap] * own->past[tap - 1];
                c += by->c_taps[tap] * own->past[tap - 1];
            }
            for (int tap = TAPS - 2; tap > 0; tap--) own->past[tap] = own->past[tap - 1];
            own->past[0] = input;
            a = sections(a, by->a_poles, own->a, A_POLES, A_ZEROS);
            c = fabs(sections(c, by->c_poles, own->c, C_POLES, C_ZEROS));
            own->fast = by->keep * own->fast + (1 - by->keep) * a * a;
            own->energy += a * a;
            own->sum += sample;
            if (own->fast > loudest) loudest = own->fast;
            if (c > found.peak) found.peak = c;
            found.clipped += sample >= by->clip || sample <= -by->clip;
        }
        if (loudest > found.fast_max) found.fast_max = loudest;
        if (frame == first) *course++ = loudest, first += step;
    }
    for (int number = 0; number < count; number++) {
        Channel *own = channels + number;
        flush(own->past, TAPS - 1), flush(own->a, A_POLES), flush(own->c, C_POLES), flush(&own->fast, 1);
    }
    *measured = found;
}
